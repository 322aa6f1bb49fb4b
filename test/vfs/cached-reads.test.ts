import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import t, { type Test } from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import { segmentPath } from '../../lib/store/index.ts'
import { BlockTable } from '../../lib/vfs/block-table.ts'
import { CachedReads, NOT_CACHED } from '../../lib/vfs/cached-reads.ts'
import { SegmentFiles } from '../../lib/vfs/segment-files.ts'
import { openSample, type OpenSample } from './open-sample.ts'
import { ArchiveMaker, DIR, FILE, noise } from './sample-archive.ts'

const BLOCK = 512 * 1024
const CONTENT = noise('file', 2 * BLOCK + 100)

interface Opened extends OpenSample {
  readonly table: BlockTable
  readonly reads: CachedReads
  readonly out: Buffer
  readonly file: number
  /** Lays one block of the file at a place of a segment. */
  readonly place: (nth: number, segment: number, offset: number) => void
}

async function open(t: Test): Promise<Opened> {
  const maker = new ArchiveMaker()
    .add('dir', DIR)
    .add('fifo', 0o010644)
    .add('file', FILE, { content: CONTENT })
    .add('link', 0o120777, { target: 'file' })
  const opened = await openSample(t, maker)
  const { index, cacheDir } = opened
  const table = new BlockTable(index.blockCount)
  const files = new SegmentFiles(cacheDir)
  t.teardown(() => files.close())
  const file = opened.row('file')
  const segments = new Map<number, Buffer>()
  return {
    ...opened,
    table,
    file,
    reads: new CachedReads(index, table, files),
    out: Buffer.alloc(3 * BLOCK, 0xee),
    place(nth, segment, offset) {
      const bytes = CONTENT.subarray(nth * BLOCK, (nth + 1) * BLOCK)
      const before = segments.get(segment) ?? Buffer.alloc(0)
      const whole = Buffer.alloc(Math.max(before.length, offset + bytes.length))
      before.copy(whole)
      bytes.copy(whole, offset)
      segments.set(segment, whole)
      mkdirSync(dirname(segmentPath(cacheDir, segment)), { recursive: true })
      writeFileSync(segmentPath(cacheDir, segment), whole)
      table.set((index.first[file] ?? 0) + nth, { segment, offset, bytes: bytes.length })
    },
  }
}

const PLACES = [0, 1, 5000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 99]
const LENGTHS = [1, 100, BLOCK, BLOCK + 7, 2 * BLOCK]

function checkAll(t: Test, { reads, file, out }: Opened): void {
  for (const offset of PLACES) {
    for (const wanted of LENGTHS) {
      const end = Math.min(offset + wanted, CONTENT.length)
      out.fill(0xee)
      const got = reads.read(file, offset, wanted, out, 16)
      const right = got === end - offset && out.subarray(16, 16 + got).equals(CONTENT.subarray(offset, end))
      t.ok(right && out[15] === 0xee && out[16 + got] === 0xee, `${wanted} bytes at ${offset}`)
    }
  }
}

t.test('read() of blocks that lie behind each other', async (t) => {
  const opened = await open(t)
  for (const nth of [0, 1, 2]) opened.place(nth, 1, 640 + nth * BLOCK)
  checkAll(t, opened)
})

t.test('read() of blocks in several segments and in any order', async (t) => {
  const opened = await open(t)
  opened.place(2, 1, 0)
  opened.place(0, 1, 128)
  opened.place(1, 2, 0)
  checkAll(t, opened)
})

t.test('read() at the end of the file and behind it', async (t) => {
  const { reads, file, out } = await open(t)
  t.equal(reads.read(file, CONTENT.length, 10, out, 0), 0)
  t.equal(reads.read(file, 2 ** 53, 10, out, 0), 0)
  t.equal(reads.read(file, 0, 0, out, 0), 0)
})

t.test('read() of what is not all there is NOT_CACHED', async (t) => {
  const { reads, file, out, place } = await open(t)
  t.equal(reads.read(file, 0, 10, out, 0), NOT_CACHED)
  place(0, 1, 0)
  t.equal(reads.read(file, 0, 10, out, 0), 10)
  t.equal(reads.read(file, BLOCK - 5, 10, out, 0), NOT_CACHED, 'the second half is missing')
})

t.test('read() of a segment that is gone or too short forgets its blocks', async (t) => {
  const { reads, file, out, place, table, index, cacheDir } = await open(t)
  const first = index.first[file] ?? 0
  for (const nth of [0, 1]) place(nth, 1, nth * BLOCK)
  place(2, 2, 0)
  truncateSync(segmentPath(cacheDir, 1), 2 * BLOCK - 1)
  rmSync(segmentPath(cacheDir, 2))
  t.equal(reads.read(file, 0, 2 * BLOCK, out, 0), NOT_CACHED)
  t.notOk(table.has(first))
  t.notOk(table.has(first + 1))
  t.equal(reads.read(file, 2 * BLOCK, 10, out, 0), NOT_CACHED)
  t.notOk(table.has(first + 2))
})

t.test('read() tells which marked block it went over', async (t) => {
  const { reads, file, out, place, table, index } = await open(t)
  const first = index.first[file] ?? 0
  for (const nth of [0, 1, 2]) place(nth, 1, nth * BLOCK)
  table.mark(first + 1)
  reads.read(file, 0, 100, out, 0)
  t.equal(reads.markedBlock, -1)
  reads.read(file, BLOCK - 10, 20, out, 0)
  t.equal(reads.markedBlock, first + 1)
})

t.test('read() of what is no file', async (t) => {
  const { reads, out, row } = await open(t)
  t.equal(reads.read(row('dir'), 0, 10, out, 0), -ERRNO.EISDIR)
  t.equal(reads.read(row('link'), 0, 10, out, 0), -ERRNO.EINVAL)
  t.equal(reads.read(row('fifo'), 0, 10, out, 0), -ERRNO.EINVAL)
})
