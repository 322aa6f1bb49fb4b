import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { compressSync } from 'snappy'

/**
 * What cutting files at their content would save over blocks of 512 KiB: sh bin/node scripts/compare-chunking.ts FOLDER..., each a version of
 * the same thing, in their order (`docs/decisions/221-*`). Prints Markdown.
 */
const KiB = 1024
const FILE_BYTES_MAX = 1024 * 1024 * KiB

type Cut = (bytes: Buffer, from: number) => number

interface Scheme {
  readonly name: string
  readonly cut: Cut
}

/** 256 numbers of 32 bits, the same each time. */
function gearTable(): Int32Array {
  const table = new Int32Array(256)
  for (let byte = 0; byte < 256; byte += 1) {
    table[byte] = createHash('sha256')
      .update(Buffer.from([byte]))
      .digest()
      .readInt32LE(0)
  }
  return table
}

const GEAR = gearTable()

/**
 * FastCDC (Xia and others, 2016): a gear hash over the bytes behind the least size, its upper bits compared with a stricter mask before the
 * average size and a laxer one behind it. Least a quarter of the average, most four times it.
 */
function fastCdc(average: number): Cut {
  const bits = Math.log2(average)
  // The upper bits of the hash depend on the last 32 bytes, the lower on fewer.
  const strict = -1 << (32 - (bits + 2))
  const lax = -1 << (32 - (bits - 2))
  return (bytes, from) => {
    const least = Math.min(bytes.length, from + average / 4)
    const middle = Math.min(bytes.length, from + average)
    const most = Math.min(bytes.length, from + average * 4)
    let hash = 0
    let at = least
    for (; at < middle; at += 1) {
      hash = ((hash << 1) + (GEAR[bytes[at] ?? 0] ?? 0)) | 0
      if ((hash & strict) === 0) return at + 1
    }
    for (; at < most; at += 1) {
      hash = ((hash << 1) + (GEAR[bytes[at] ?? 0] ?? 0)) | 0
      if ((hash & lax) === 0) return at + 1
    }
    return most
  }
}

const SCHEMES: readonly Scheme[] = [
  { name: 'whole files', cut: (bytes) => bytes.length },
  { name: 'fixed 512 KiB', cut: (bytes, from) => Math.min(bytes.length, from + 512 * KiB) },
  { name: 'fixed 64 KiB', cut: (bytes, from) => Math.min(bytes.length, from + 64 * KiB) },
  ...[512, 128, 64].map((size) => ({ name: `by content, ${size} KiB`, cut: fastCdc(size * KiB) })),
]

interface Totals {
  readonly seen: Set<string>
  pieces: number
  unique: number
  stored: number
  /** Stored bytes that each version added. */
  readonly added: number[]
  cutMs: number
}

function* filesOf(folder: string): Generator<Buffer> {
  for (const name of readdirSync(folder).toSorted()) {
    const path = join(folder, name)
    const about = lstatSync(path)
    if (about.isDirectory()) yield* filesOf(path)
    if (!about.isFile() || about.size === 0) continue
    if (about.size > FILE_BYTES_MAX) throw new RangeError(`"${path}" is larger than this script reads`)
    yield wholeFile(path, about.size)
  }
}

function wholeFile(path: string, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size)
  const fd = openSync(path, 'r')
  let at = 0
  for (let read = 1; read > 0 && at < size; at += read) read = readSync(fd, bytes, at, size - at, at)
  closeSync(fd)
  return bytes.subarray(0, at)
}

function addFile(totals: Totals, { cut }: Scheme, bytes: Buffer, version: number): void {
  const ends: number[] = []
  const begun = performance.now()
  for (let at = 0; at < bytes.length; ends.push(at)) at = cut(bytes, at)
  totals.cutMs += performance.now() - begun
  let from = 0
  for (const end of ends) {
    const piece = bytes.subarray(from, end)
    from = end
    const id = createHash('blake2b512').update(piece).digest('base64')
    totals.pieces += 1
    if (totals.seen.has(id)) continue
    totals.seen.add(id)
    totals.unique += piece.length
    const stored = compressSync(piece).length
    totals.stored += stored
    totals.added[version] = (totals.added[version] ?? 0) + stored
  }
}

const folders = process.argv.slice(2)
if (folders.length === 0) throw new RangeError('Name the folders of the versions, the oldest first')
const all = SCHEMES.map((scheme) => ({
  scheme,
  totals: { seen: new Set<string>(), pieces: 0, unique: 0, stored: 0, added: [], cutMs: 0 } as Totals,
}))
let files = 0
let plain = 0
folders.forEach((folder, version) => {
  for (const bytes of filesOf(folder)) {
    files += 1
    plain += bytes.length
    for (const { scheme, totals } of all) addFile(totals, scheme, bytes, version)
  }
})
const mb = (bytes: number): string => (bytes / 1e6).toFixed(1)
console.log(`${folders.length} versions, ${files} files, ${mb(plain)} MB\n`)
console.log('| cut | pieces | different | different MB | stored MB | added by each version, stored MB | cutting s |')
console.log('| --- | --- | --- | --- | --- | --- | --- |')
for (const { scheme, totals } of all) {
  const { pieces, seen, unique, stored, added, cutMs } = totals
  const cells = [scheme.name, pieces, seen.size, mb(unique), mb(stored), added.map(mb).join(', ')]
  console.log(`| ${cells.join(' | ')} | ${(cutMs / 1000).toFixed(1)} |`)
}
