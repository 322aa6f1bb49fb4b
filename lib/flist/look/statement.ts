import { createHash, type Hash } from 'node:crypto'
import { FILE_TYPE, isDevice } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'
import { BACKEND_TAG, ROUTES_TAG } from '../v1/route-tags.ts'
import { FORMAT_TAG } from '../fl-schema.ts'

/** The tag that signatures stand in. */
export const SIGNATURE_TAG = 'x-signature'

/**
 * Tags that are not of the tree: signatures themselves, where blocks are (an fl has a table for that, v1 only tags), and the version
 * of tables of ours, which the writer adds.
 */
const LEFT_OUT: Readonly<Record<FlistIndex['format'], ReadonlySet<string>>> = {
  fl: new Set([SIGNATURE_TAG, FORMAT_TAG]),
  v1: new Set([SIGNATURE_TAG, ROUTES_TAG, BACKEND_TAG]),
}

const ROWS_PER_PIECE = 65_536
/** One update of a hash takes less than 2 GiB. */
const BYTES_PER_PIECE = 64 * 1024 * 1024

/**
 * What a signature is for: all that an archive says but where its blocks are, as a few lines of text with a SHA-256 for each column of
 * the index. `docs/signing.md` has it byte by byte. The same for every archive that compiles to the same tree; any attribute of
 * any entry changes it.
 */
export function signedStatement(index: FlistIndex): string {
  const { rowCount, format } = index
  const lines = [`flistfs-signature-v1`, `format ${format}`, `entries ${rowCount}`]
  for (const [name, feed] of Object.entries(SECTIONS)) {
    const hash = createHash('sha256')
    feed(index, hash)
    lines.push(`${name} ${hash.digest('hex')}`)
  }
  return `${lines.join('\n')}\n`
}

/** Lengths and numbers come before the bytes they are of, each column has one width: no two trees feed the same bytes. */
const SECTIONS: Readonly<Record<string, (index: FlistIndex, hash: Hash) => void>> = {
  names: (index, hash) => {
    const { nameAt, names, rowCount } = index
    words(index, hash, (row) => (nameAt[row + 1] ?? 0) - (nameAt[row] ?? 0))
    bytes(hash, names.subarray(nameAt[0] ?? 0, nameAt[rowCount] ?? 0))
  },
  parents: ({ parent }, hash) => bytes(hash, parent),
  leaders: ({ leader }, hash) => bytes(hash, leader),
  modes: ({ mode }, hash) => bytes(hash, mode),
  uids: (index, hash) => words(index, hash, (row) => index.owners[2 * (index.owner[row] ?? 0)] ?? 0),
  gids: (index, hash) => words(index, hash, (row) => index.owners[2 * (index.owner[row] ?? 0) + 1] ?? 0),
  // Doubles of whole numbers: below 2^53 each has one form.
  sizes: ({ size }, hash) => bytes(hash, size),
  devices: (index, hash) => words(index, hash, (row) => (isDevice(index.mode[row] ?? 0) ? (index.first[row] ?? 0) : 0)),
  mtimes: (index, hash) => times(index, hash, index.mtime, index.mtimeNs),
  ctimes: (index, hash) => times(index, hash, index.ctime, index.ctimeNs),
  targets: (index, hash) => {
    const { names, first, count } = index
    const length = (row: number): number => (typeOf(index, row) === FILE_TYPE.link ? (count[row] ?? 0) : 0)
    words(index, hash, length)
    for (let row = 0; row < index.rowCount; row += 1) {
      const from = first[row] ?? 0
      if (length(row) > 0) hash.update(names.subarray(from, from + length(row)))
    }
  },
  // Those of a leader are also its other names'. They lie in the order of the rows.
  blocks: (index, hash) => {
    words(index, hash, (row) =>
      index.leader[row] === row && typeOf(index, row) === FILE_TYPE.file ? (index.count[row] ?? 0) : 0,
    )
    bytes(hash, index.ids)
    bytes(hash, index.keys)
  },
  xattrs: (index, hash) => {
    if (!index.hasXattrs) return
    for (let row = 0; row < index.rowCount; row += 1) {
      const list = index.leader[row] === row ? index.xattrs(row) : []
      if (list.length === 0) continue
      hash.update(Uint32Array.of(row, list.length))
      for (const { name, value } of list) {
        hash.update(Uint32Array.of(name.length, value.length)).update(name).update(value)
      }
    }
  },
  tags: ({ tags, format }, hash) => {
    const signed = Object.entries(tags)
      .filter(([name]) => !LEFT_OUT[format].has(name))
      .map((pair) => pair.map((text) => Buffer.from(text)))
      .sort(([a = EMPTY], [b = EMPTY]) => Buffer.compare(a, b))
    for (const [name = EMPTY, value = EMPTY] of signed) {
      hash.update(Uint32Array.of(name.length, value.length)).update(name).update(value)
    }
  },
}

const EMPTY = Buffer.alloc(0)

function typeOf(index: FlistIndex, row: number): number {
  return (index.mode[row] ?? 0) & FILE_TYPE.mask
}

function bytes(hash: Hash, { buffer, byteOffset, byteLength }: ArrayBufferView): void {
  for (let at = 0; at < byteLength; at += BYTES_PER_PIECE) {
    hash.update(new Uint8Array(buffer, byteOffset + at, Math.min(BYTES_PER_PIECE, byteLength - at)))
  }
}

/** Seconds as i64 and nanoseconds as u32, where the index has none too. */
function times(index: FlistIndex, hash: Hash, seconds: Int32Array, fractions: Uint32Array | undefined): void {
  bytes(hash, seconds)
  words(index, hash, (row) => fractions?.[row] ?? 0)
}

/** A u32 for each row, little-endian as all machines are that Node runs on. */
function words(index: FlistIndex, hash: Hash, of: (row: number) => number): void {
  const piece = new Uint32Array(ROWS_PER_PIECE)
  for (let from = 0; from < index.rowCount; from += ROWS_PER_PIECE) {
    const to = Math.min(from + ROWS_PER_PIECE, index.rowCount)
    for (let row = from; row < to; row += 1) piece[row - from] = of(row)
    hash.update(piece.subarray(0, to - from))
  }
}
