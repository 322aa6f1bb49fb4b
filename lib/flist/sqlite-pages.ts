import { readSync } from 'node:fs'
import { displayBytes, FlistError } from '../base/index.ts'
import { DAMAGED_HINT } from './damage.ts'

/** SQLite's database header, bytes, big-endian (sqlite.org/fileformat2.html, 1.3). */
const FILE_HEADER = {
  size: 100,
  magic: 0 /* 16 bytes */,
  pageSize: 16 /* u16, 1 stands for 65536 */,
  encoding: 56 /* u32, 1 is UTF-8 */,
} as const
const MAGIC = Buffer.from('SQLite format 3\0', 'latin1')
const ENCODING_UTF8 = 1

/** A b-tree page's header (the same page, 1.6); on page 1 it follows the file header. */
const PAGE_HEADER = { size: 12, type: 0 /* u8 */, cells: 3 /* u16 */, last: 8 /* u32, interior pages only */ } as const
const INTERIOR = new Set([0x02, 0x05])
const LEAF = new Set([0x0a, 0x0d])

/** What the walk needs of an open database file. */
export interface PagedFile {
  readonly fd: number
  readonly path: string
  readonly pageBytes: number
  readonly pageCount: number
  /** One bit a page: it is part of a tree that was walked. */
  readonly seen: Uint8Array
}

/** Reads the file's header. Throws FLIST_ARCHIVE_DAMAGED where it is not an SQLite 3 database in UTF-8. */
export function openPages(fd: number, path: string, fileBytes: number): PagedFile {
  const header = Buffer.alloc(FILE_HEADER.size)
  const got = readSync(fd, header, 0, header.length, 0)
  if (got < FILE_HEADER.size || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw damaged(path, 'it is not an SQLite 3 database')
  }
  const field = header.readUInt16BE(FILE_HEADER.pageSize)
  const pageBytes = field === 1 ? 65536 : field
  if (pageBytes < 512 || (pageBytes & (pageBytes - 1)) !== 0) throw damaged(path, `its page size is ${pageBytes}`)
  // 0 is a database nothing was ever written to.
  if (header.readUInt32BE(FILE_HEADER.encoding) > ENCODING_UTF8) throw damaged(path, 'its text is not UTF-8')
  const pageCount = Math.floor(fileBytes / pageBytes)
  return { fd, path, pageBytes, pageCount, seen: new Uint8Array((pageCount >> 3) + 1) }
}

/**
 * Walks the b-tree at `root` and throws FLIST_ARCHIVE_DAMAGED where a page lies outside the file or is reached twice. SQLite
 * does not look: twenty interior pages that point to one another make a table of 10^50 rows in 80 KiB, and one statement
 * over it (the reading of the schema, or a search that finds nothing) never comes back.
 */
export function checkTree(file: PagedFile, root: number): void {
  const pending = [root]
  const page = Buffer.alloc(file.pageBytes)
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    if (at < 1 || at > file.pageCount) throw damaged(file.path, `its page ${at} is outside the file`)
    if (((file.seen[at >> 3] ?? 0) >> (at & 7)) & 1) throw damaged(file.path, `its page ${at} is used twice`)
    file.seen[at >> 3] = (file.seen[at >> 3] ?? 0) | (1 << (at & 7))
    pushChildren(file, at, page, pending)
  }
}

function pushChildren(file: PagedFile, at: number, page: Buffer, pending: number[]): void {
  const start = (at - 1) * file.pageBytes
  const base = at === 1 ? FILE_HEADER.size : 0
  // Most pages are leaves: their first bytes will do.
  readSync(file.fd, page, 0, base + PAGE_HEADER.size, start)
  const type = page.readUInt8(base + PAGE_HEADER.type)
  if (LEAF.has(type)) return
  if (!INTERIOR.has(type)) throw damaged(file.path, `its page ${at} is of the unknown kind ${type}`)
  readSync(file.fd, page, 0, file.pageBytes, start)
  const cells = page.readUInt16BE(base + PAGE_HEADER.cells)
  const table = base + PAGE_HEADER.size
  if (table + 2 * cells > file.pageBytes) throw damaged(file.path, `its page ${at} has ${cells} cells`)
  for (let cell = 0; cell < cells; cell += 1) {
    const offset = page.readUInt16BE(table + 2 * cell)
    if (offset + 4 > file.pageBytes) throw damaged(file.path, `its page ${at} has a cell outside itself`)
    pending.push(page.readUInt32BE(offset))
  }
  pending.push(page.readUInt32BE(base + PAGE_HEADER.last))
}

function damaged(path: string, why: string): FlistError {
  return new FlistError('FLIST_ARCHIVE_DAMAGED', `Cannot read "${displayBytes(Buffer.from(path))}": ${why}`, {
    hint: DAMAGED_HINT,
  })
}
