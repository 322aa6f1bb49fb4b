import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import t from 'tap'
import { segmentPath } from '../../lib/store/index.ts'
import { SegmentFiles } from '../../lib/vfs/segment-files.ts'

function writeSegment(dir: string, segment: number): void {
  const path = segmentPath(dir, segment)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `segment ${segment}`)
}

function read(fd: number): string {
  const bytes = Buffer.alloc(100)
  return bytes.toString('latin1', 0, readSync(fd, bytes, 0, 100, 0))
}

const openCount = (): number => readdirSync('/proc/self/fd').length

t.test('SegmentFiles opens each segment once', async (t) => {
  const dir = t.testdir()
  for (const segment of [1, 2, 257]) writeSegment(dir, segment)
  const files = new SegmentFiles(dir)
  t.teardown(() => files.close())
  const [one, two, far] = [1, 2, 257].map((segment) => files.open(segment))
  t.strictSame(
    [one, two, far].map((fd) => read(fd ?? -1)),
    ['segment 1', 'segment 2', 'segment 257'],
  )
  t.strictSame([files.open(1), files.open(1), files.open(2), files.open(257)], [one, one, two, far])
  t.equal(files.open(3), -1, 'not there')
  t.equal(files.open(1), one, 'one that is not there changes nothing')
})

t.test('SegmentFiles closes the least recently used of more than 128', async (t) => {
  const dir = t.testdir()
  for (let segment = 1; segment <= 140; segment += 1) writeSegment(dir, segment)
  const files = new SegmentFiles(dir)
  const before = openCount()
  for (let segment = 1; segment <= 128; segment += 1) files.open(segment)
  files.open(1)
  for (let segment = 129; segment <= 140; segment += 1) files.open(segment)
  t.equal(openCount() - before, 128)
  for (const segment of [1, 2, 13, 14, 140]) t.equal(read(files.open(segment)), `segment ${segment}`)
  files.close()
  t.equal(openCount(), before, 'close() closes all')
  files.close()
  t.equal(read(files.open(5)), 'segment 5', 'and a later open works')
  files.close()
})

t.test('releaseUnlinked() lets go of what eviction removed, and only of that', async (t) => {
  const dir = t.testdir()
  for (const segment of [1, 2]) writeSegment(dir, segment)
  const files = new SegmentFiles(dir)
  t.teardown(() => files.close())
  const [one, two] = [files.open(1), files.open(2)]
  rmSync(segmentPath(dir, 2))
  t.equal(read(files.open(2)), 'segment 2', 'still readable')
  files.releaseUnlinked()
  t.throws(() => fstatSync(two), { code: 'EBADF' })
  t.equal(files.open(2), -1, 'the last one opened is not remembered')
  t.equal(files.open(1), one)
  const other = openSync('/dev/null', 'r')
  closeSync(other)
})

t.test('takeUsed() names what was opened since it was last asked, where somebody said that he would ask', async (t) => {
  const dir = t.testdir()
  for (const segment of [1, 2, 3]) writeSegment(dir, segment)
  const asked = new SegmentFiles(dir, true)
  const unasked = new SegmentFiles(dir)
  t.teardown(() => [asked, unasked].forEach((files) => files.close()))
  for (const files of [asked, unasked]) for (const segment of [1, 2]) files.open(segment)
  t.strictSame(asked.takeUsed(), [1, 2])
  t.strictSame(asked.takeUsed(), [2], 'the last one is opened by nobody again while it is read on')
  asked.open(3)
  t.strictSame(asked.takeUsed(), [2, 3])
  t.strictSame(unasked.takeUsed(), [], 'else nothing is kept')
})
