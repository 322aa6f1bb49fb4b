import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { FILE_TYPE, type FlistIndex } from '../../lib/flist/index.ts'
import { LIMITS } from '../../lib/base/index.ts'
import { decodeBlock, prepareCodec } from '../../lib/store/index.ts'

/** One entry of a tree, as text that can be compared; paths as Latin-1. */
export type Facts = Map<string, string>

export interface FactOptions {
  /** The format's limits: v1 has neither nanoseconds nor hard links. */
  readonly format: 'fl' | 'v1'
}

const SLASH = Buffer.from('/')
const NS = 1_000_000_000n

/** What lstat and reading say of a folder. Times of change and a folder's size are not compared: nobody can set them. */
export function factsOfFolder(root: string, { format }: FactOptions): Facts {
  const facts: Facts = new Map()
  const names = new Map<string, string>()
  const visit = (path: Buffer, below: string): void => {
    const about = lstatSync(path, { bigint: true })
    const isFolder = about.isDirectory()
    const inode = `${about.dev}.${about.ino}`
    if (!names.has(inode)) names.set(inode, below)
    facts.set(
      below,
      [
        about.mode.toString(8),
        `${about.uid}:${about.gid}`,
        isFolder ? '' : String(about.size),
        about.isBlockDevice() || about.isCharacterDevice() ? String(about.rdev) : '',
        String(format === 'fl' ? about.mtimeNs : about.mtimeNs / NS),
        format === 'fl' ? `${about.nlink}` : '',
        format === 'fl' && !isFolder && about.nlink > 1n ? 'linked' : '',
        about.isSymbolicLink() ? readlinkSync(path, 'latin1') : '',
        about.isFile() ? sha256([readFileSync(path)]) : '',
      ].join('|'),
    )
    if (!isFolder) return
    for (const name of readdirSync(path, { encoding: 'buffer' })) {
      const text = name.toString('latin1')
      visit(Buffer.concat([path, SLASH, name]), below === '' ? text : `${below}/${text}`)
    }
  }
  visit(Buffer.from(root), '')
  return facts
}

/** The same from an index and a folder of blocks. */
export async function factsOfIndex(index: FlistIndex, store: string, { format }: FactOptions): Promise<Facts> {
  await prepareCodec()
  const facts: Facts = new Map()
  const hashes = new Map<number, string>()
  const nlinks = new Map<number, number>()
  for (let row = 0; row < index.rowCount; row += 1) {
    const leader = index.leader[row] ?? 0
    nlinks.set(leader, (nlinks.get(leader) ?? 0) + 1)
  }
  for (let row = 0; row < index.rowCount; row += 1) {
    const mode = index.mode[row] ?? 0
    const type = mode & FILE_TYPE.mask
    const owner = index.owner[row] ?? 0
    const seconds = (BigInt(index.mtime[2 * row + 1] ?? 0) << 32n) | BigInt((index.mtime[2 * row] ?? 0) >>> 0)
    const first = index.first[row] ?? 0
    const leader = index.leader[row] ?? 0
    const isFolder = type === FILE_TYPE.directory
    const isDevice = type === FILE_TYPE.block || type === FILE_TYPE.character
    if (type === FILE_TYPE.file && !hashes.has(leader)) hashes.set(leader, sha256(contentOf(index, store, row)))
    facts.set(
      index.pathOf(row).toString('latin1'),
      [
        mode.toString(8),
        `${index.owners[2 * owner]}:${index.owners[2 * owner + 1]}`,
        isFolder ? '' : String(index.size[row]),
        isDevice ? String(first) : '',
        String(format === 'fl' ? seconds * NS + BigInt(index.mtimeNs?.[row] ?? 0) : seconds),
        format === 'fl' ? String(index.nlink[row]) : '',
        format === 'fl' && !isFolder && (nlinks.get(leader) ?? 0) > 1 ? 'linked' : '',
        type === FILE_TYPE.link ? index.names.toString('latin1', first, first + (index.count[row] ?? 0)) : '',
        type === FILE_TYPE.file ? (hashes.get(leader) ?? '') : '',
      ].join('|'),
    )
  }
  return facts
}

function* contentOf(index: FlistIndex, store: string, row: number): Generator<Buffer> {
  const { hashBytes, format } = index
  const first = index.first[row] ?? 0
  const size = index.size[row] ?? 0
  for (let block = 0; block < (index.count[row] ?? 0); block += 1) {
    const at = (first + block) * hashBytes
    const id = index.ids.subarray(at, at + hashBytes)
    const name = id.toString('hex')
    const plainBytes = Math.min(LIMITS.blockBytesMax, size - block * LIMITS.blockBytesMax)
    const ref = { format, id, key: index.keys.subarray(at, at + hashBytes), plainBytes }
    yield decodeBlock(ref, readFileSync(`${store}/${name.slice(0, 2)}/${name}`))
  }
}

function sha256(pieces: Iterable<Buffer>): string {
  const hash = createHash('sha256')
  for (const piece of pieces) hash.update(piece)
  return hash.digest('hex')
}

/** Where two trees differ, at most twenty places. */
export function differ(one: Facts, other: Facts): string[] {
  const found: string[] = []
  for (const path of new Set([...one.keys(), ...other.keys()])) {
    if (one.get(path) !== other.get(path)) found.push(`${path}: ${one.get(path)} ${other.get(path)}`)
  }
  return found.slice(0, 20)
}
