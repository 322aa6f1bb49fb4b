import koffi from 'koffi'
import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** resident.ts FOLDER BLOCK_BYTES: how many blocks of the folder's files have a page in the kernel's cache, as JSON. */
const [folder, blockText] = process.argv.slice(2)
if (folder === undefined || blockText === undefined) throw new RangeError('resident.ts FOLDER BLOCK_BYTES')
const blockBytes = Number(blockText)
const PAGE_BYTES = 4096
const PROT_READ = 1
const MAP_SHARED = 1

const libc = koffi.load(null)
const mmap = libc.func('void *mmap(void *at, size_t bytes, int protection, int flags, int fd, long offset)')
const munmap = libc.func('int munmap(void *at, size_t bytes)')
const mincore = libc.func('int mincore(void *at, size_t bytes, _Out_ uint8_t *pages)')

/** Names that lead to the same file, and symbolic links to folders, which the walk follows. */
const seen = new Set<number>()
let blocks = 0
let pages = 0
for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
  if (entry.isFile()) count(join(entry.parentPath, entry.name))
}
console.log(JSON.stringify({ blocks, pages }))

function count(path: string): void {
  const fd = openSync(path, 'r')
  const { ino, size: bytes } = fstatSync(fd)
  if (bytes > 0 && !seen.has(ino)) {
    seen.add(ino)
    const at: unknown = mmap(null, bytes, PROT_READ, MAP_SHARED, fd, 0)
    const resident = Buffer.alloc(Math.ceil(bytes / PAGE_BYTES))
    if (mincore(at, bytes, resident) !== 0) throw new Error(`mincore of ${path} failed`)
    munmap(at, bytes)
    const perBlock = blockBytes / PAGE_BYTES
    for (let page = 0; page < resident.length; page += perBlock) {
      const here = resident.subarray(page, page + perBlock).filter((byte) => (byte & 1) === 1).length
      pages += here
      if (here > 0) blocks += 1
    }
  }
  closeSync(fd)
}
