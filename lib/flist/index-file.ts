import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { crc32 } from 'node:zlib'
import { FlistError, LIMITS, systemCode, systemReason } from '../base/index.ts'
import { mapFile } from '../system/index.ts'
import type { Mapping } from '../system/index.ts'
import { indexDamaged, readHeader } from './index-header.ts'
import type { IndexHeader } from './index-header.ts'
import { isIndexMarked, writeIndexMark } from './index-mark.ts'
import { FLAG, HEADER } from './layout.ts'
import type { SectionName } from './layout.ts'
import type { Route } from './tree-sink.ts'

/**
 * A mapped index: all columns are views of the file, read only. Rows are numbered breadth first, a folder's children
 * are one run sorted by the bytes of their names; row 0 is the root. See `docs/index-layout.md`.
 */
export interface FlistIndex {
  /** SHA-256 of the archive, hex. */
  readonly digest: string
  readonly format: 'fl' | 'v1'
  readonly rowCount: number
  /** Rows that are their own leader. */
  readonly inodeCount: number
  /** Block references: a block used twice counts twice. */
  readonly blockCount: number
  /** Bytes of a block id and of a key. */
  readonly hashBytes: 16 | 32
  /** Sum of the sizes of regular files that are leaders. */
  readonly contentBytes: number
  readonly hasXattrs: boolean
  readonly hasAcls: boolean
  readonly hasLinks: boolean
  /** In the order to try. */
  readonly routes: readonly Route[]
  /** Tags of an fl, metadata of a v1. */
  readonly tags: Readonly<Record<string, string>>
  readonly mappedBytes: number
  /** `rowCount + 1`: the name of row r is `names[nameAt[r] .. nameAt[r + 1])`. */
  readonly nameAt: Uint32Array
  /** The root's name is empty. */
  readonly names: Buffer
  /** Row of the parent; the root's is 0. */
  readonly parent: Uint32Array
  /** Row that stands for the inode: itself, or the lowest row of its group of hard links. */
  readonly leader: Uint32Array
  /** Full st_mode. */
  readonly mode: Uint16Array
  /** Number of a pair in `owners`. */
  readonly owner: Uint32Array
  /** uid, gid, uid, gid, ... */
  readonly owners: Uint32Array
  readonly nlink: Uint32Array
  /** st_size, below 2^52. */
  readonly size: Float64Array
  /** Pairs lo, hi of an i64 in seconds. */
  readonly mtime: Int32Array
  readonly ctime: Int32Array
  /** Undefined when all are 0. */
  readonly mtimeNs: Uint32Array | undefined
  readonly ctimeNs: Uint32Array | undefined
  /** Folder: row of the first child. File: first block reference. Link: offset of the target in `names`. Device: rdev. */
  readonly first: Uint32Array
  /** Folder: children. File: block references present. Link: bytes of the target. */
  readonly count: Uint32Array
  readonly ids: Buffer
  readonly keys: Buffer
  /** `rowCount + 1`: entries of row r in the tables of extended attributes; only leaders have any. */
  readonly xattrAt: Uint32Array | undefined
  /** The attributes of a row's inode. */
  xattrs(row: number): readonly { name: Buffer; value: Buffer }[]
  /** The child of `dirRow` whose name is bytes `[from, to)` of `name`, or -1. Allocates nothing. */
  find(dirRow: number, name: Buffer, from: number, to: number): number
  /** A view. */
  nameOf(row: number): Buffer
  /** `usr/bin/env`; the root's is empty. */
  pathOf(row: number): Buffer
  /** Gives resident pages back: they come again from the page cache when touched. */
  release(): void
  /** Ends the mapping: nothing of this index may be touched afterwards. Idempotent. */
  close(): void
}

/**
 * Maps the index of the archive with this digest. The header is always checked, the body once for each boot.
 * Throws FLIST_INDEX_DAMAGED for a damaged index, another layout or another archive's, FLIST_NOT_FOUND where none is.
 */
export function openIndex(indexPath: string, digest: string): FlistIndex {
  return withHeader(indexPath, digest, (fd, header, stat) => {
    // By descriptor: the name may meanwhile be another file's.
    const mapping = mapFile(`/proc/self/fd/${fd}`, header.fileBytes)
    try {
      checkBody(mapping, header, indexPath, stat)
      return new MappedIndex(mapping, header, indexPath)
    } catch (error) {
      mapping.close()
      throw error
    }
  })
}

/**
 * Says by its throwing what `openIndex` would. An index that was checked since boot is not mapped for that: V8 counts the
 * mappings, and collects garbage in the middle of a start where there are two.
 */
export function checkIndex(indexPath: string, digest: string): void {
  const isMarked = withHeader(indexPath, digest, (_fd, _header, stat) => isIndexMarked(indexPath, stat))
  if (!isMarked) openIndex(indexPath, digest).close()
}

function withHeader<T>(
  indexPath: string,
  digest: string,
  use: (fd: number, header: IndexHeader, stat: BigIntStats) => T,
): T {
  const fd = openIndexFile(indexPath)
  try {
    const stat = fstatSync(fd, { bigint: true })
    const block = Buffer.alloc(HEADER.size)
    const read = stat.isFile() ? readSync(fd, block, 0, HEADER.size, 0) : 0
    const header = readHeader(block.subarray(0, read), Number(stat.size), indexPath)
    if (header.digest !== digest) throw indexDamaged(indexPath, `it is of archive ${header.digest}, wanted ${digest}`)
    return use(fd, header, stat)
  } finally {
    closeSync(fd)
  }
}

function openIndexFile(indexPath: string): number {
  try {
    return openSync(indexPath, 'r')
  } catch (error) {
    const code = systemCode(error) === 'ENOENT' ? 'FLIST_NOT_FOUND' : 'FLIST_CACHE_UNUSABLE'
    throw new FlistError(code, `Cannot open the index "${indexPath}": ${systemReason(error)}`, {
      hint: 'Check who owns the cache, or name another folder with --cache',
      cause: error,
    })
  }
}

function checkBody(mapping: Mapping, header: IndexHeader, indexPath: string, stat: BigIntStats): void {
  if (isIndexMarked(indexPath, stat)) return
  if (crc32(new Uint8Array(mapping.bytes, HEADER.size)) !== header.bodyCrc) {
    throw indexDamaged(indexPath, 'its body does not match its checksum')
  }
  writeIndexMark(indexPath, stat)
}

class MappedIndex implements FlistIndex {
  readonly digest: string
  readonly format: 'fl' | 'v1'
  readonly rowCount: number
  readonly inodeCount: number
  readonly blockCount: number
  readonly hashBytes: 16 | 32
  readonly contentBytes: number
  readonly hasXattrs: boolean
  readonly hasAcls: boolean
  readonly hasLinks: boolean
  readonly routes: readonly Route[]
  readonly tags: Readonly<Record<string, string>>
  readonly mappedBytes: number
  readonly nameAt: Uint32Array
  readonly names: Buffer
  readonly parent: Uint32Array
  readonly leader: Uint32Array
  readonly mode: Uint16Array
  readonly owner: Uint32Array
  readonly owners: Uint32Array
  readonly nlink: Uint32Array
  readonly size: Float64Array
  readonly mtime: Int32Array
  readonly ctime: Int32Array
  readonly mtimeNs: Uint32Array | undefined
  readonly ctimeNs: Uint32Array | undefined
  readonly first: Uint32Array
  readonly count: Uint32Array
  readonly ids: Buffer
  readonly keys: Buffer
  readonly xattrAt: Uint32Array | undefined
  readonly #xattrEntries: Uint32Array
  readonly #xattrBytes: Buffer
  readonly #mapping: Mapping

  constructor(mapping: Mapping, header: IndexHeader, path: string) {
    const buffer = mapping.bytes
    const { spans } = header
    const bytes = (name: SectionName): Buffer => Buffer.from(buffer, spans[name].offset, spans[name].bytes)
    const u32 = (name: SectionName): Uint32Array => new Uint32Array(buffer, spans[name].offset, spans[name].bytes / 4)
    const i32 = (name: SectionName): Int32Array => new Int32Array(buffer, spans[name].offset, spans[name].bytes / 4)
    const optional = (name: SectionName): Uint32Array | undefined => (spans[name].bytes === 0 ? undefined : u32(name))
    this.#mapping = mapping
    this.digest = header.digest
    this.format = header.format
    this.rowCount = header.rowCount
    this.inodeCount = header.inodeCount
    this.blockCount = header.blockCount
    this.hashBytes = header.hashBytes
    this.contentBytes = header.contentBytes
    this.hasXattrs = (header.flags & FLAG.hasXattrs) !== 0
    this.hasAcls = (header.flags & FLAG.hasAcls) !== 0
    this.hasLinks = (header.flags & FLAG.hasLinks) !== 0
    this.mappedBytes = header.fileBytes
    this.nameAt = u32('nameAt')
    this.names = bytes('names')
    this.parent = u32('parent')
    this.leader = u32('leader')
    this.mode = new Uint16Array(buffer, spans.mode.offset, spans.mode.bytes / 2)
    this.owner = u32('owner')
    this.owners = u32('owners')
    this.nlink = u32('nlink')
    this.size = new Float64Array(buffer, spans.size.offset, spans.size.bytes / 8)
    this.mtime = i32('mtime')
    this.ctime = i32('ctime')
    this.mtimeNs = optional('mtimeNs')
    this.ctimeNs = optional('ctimeNs')
    this.first = u32('first')
    this.count = u32('count')
    this.ids = bytes('ids')
    this.keys = bytes('keys')
    this.xattrAt = optional('xattrAt')
    this.#xattrEntries = u32('xattrEntries')
    this.#xattrBytes = bytes('xattrBytes')
    const { routes, tags } = parseJson(bytes('json'), path)
    this.routes = routes
    this.tags = tags
  }

  xattrs(row: number): readonly { name: Buffer; value: Buffer }[] {
    const at = this.xattrAt
    if (at === undefined) return []
    const leader = this.leader[row] ?? 0
    const list: { name: Buffer; value: Buffer }[] = []
    const bytes = this.#xattrBytes
    const end = Math.min(at[leader + 1] ?? 0, this.#xattrEntries.length / 4)
    for (let entry = at[leader] ?? 0; entry < end; entry += 1) {
      const [nameAt = 0, nameBytes = 0, valueAt = 0, valueBytes = 0] = this.#xattrEntries.subarray(
        entry * 4,
        entry * 4 + 4,
      )
      list.push({
        name: bytes.subarray(nameAt, nameAt + nameBytes),
        value: bytes.subarray(valueAt, valueAt + valueBytes),
      })
    }
    return list
  }

  find(dirRow: number, name: Buffer, from: number, to: number): number {
    const { names, nameAt } = this
    const wanted = to - from
    let low = this.first[dirRow] ?? 0
    // Never beyond the rows, whatever the file says: the sum below must stay a u32.
    let high = Math.min(low + (this.count[dirRow] ?? 0), this.rowCount)
    while (low < high) {
      const middle = (low + high) >>> 1
      const at = nameAt[middle] ?? 0
      const bytes = (nameAt[middle + 1] ?? 0) - at
      const shared = bytes < wanted ? bytes : wanted
      let difference = 0
      for (let byte = 0; byte < shared && difference === 0; byte += 1) {
        difference = (names[at + byte] ?? 0) - (name[from + byte] ?? 0)
      }
      if (difference === 0) difference = bytes - wanted
      if (difference === 0) return middle
      if (difference < 0) low = middle + 1
      else high = middle
    }
    return -1
  }

  nameOf(row: number): Buffer {
    return this.names.subarray(this.nameAt[row] ?? 0, this.nameAt[row + 1] ?? 0)
  }

  pathOf(row: number): Buffer {
    const parts: Buffer[] = []
    for (let at = row, depth = 0; at !== 0 && depth <= LIMITS.treeDepthMax + 1; depth += 1) {
      if (parts.length > 0) parts.push(SLASH)
      parts.push(this.nameOf(at))
      at = this.parent[at] ?? 0
    }
    return Buffer.concat(parts.reverse())
  }

  release(): void {
    this.#mapping.release()
  }

  close(): void {
    this.#mapping.close()
  }
}

const SLASH = Buffer.from('/')

function parseJson(bytes: Buffer, path: string): { routes: Route[]; tags: Record<string, string> } {
  try {
    const parsed: unknown = JSON.parse(bytes.toString('utf8'))
    if (isRecord(parsed) && Array.isArray(parsed['routes']) && isRecord(parsed['tags'])) {
      const routes: unknown[] = parsed['routes']
      const tags = Object.entries(parsed['tags'])
      if (routes.every(isRoute) && tags.every(isTag)) return { routes, tags: Object.fromEntries(tags) }
    }
  } catch (error) {
    throw indexDamaged(path, 'its routes and tags are no JSON', error)
  }
  throw indexDamaged(path, 'its routes and tags are not of their form')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isRoute(value: unknown): value is Route {
  return isRecord(value) && isByte(value['start']) && isByte(value['end']) && typeof value['url'] === 'string'
}

function isByte(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255
}

function isTag(entry: [string, unknown]): entry is [string, string] {
  return typeof entry[1] === 'string'
}
