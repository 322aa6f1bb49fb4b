import { truncateSync } from 'node:fs'
import t from 'tap'
import { segmentPath } from '../../../lib/store/cache/layout.ts'
import { SegmentFiles } from '../../../lib/store/cache/segment-files.ts'

const LATER = 1100

t.test('SegmentFiles remembers a bounded number of segments, among them all that it has open', async (t) => {
  const dir = t.testdir()
  const files = new SegmentFiles(dir)
  t.teardown(() => files.close())
  files.create(1)
  files.write({ segment: 1, offset: 0, bytes: 4 }, Buffer.from('here'))
  // Others make and remove segments for years; this process only looks whether their blocks are there.
  const other = new SegmentFiles(dir)
  for (let segment = 2; segment < 2 + LATER; segment += 1) {
    other.create(segment)
    other.write({ segment, offset: 0, bytes: 4 }, Buffer.from('here'))
    if (!files.covers({ segment, offset: 0, bytes: 4 })) t.fail(`segment ${segment} is there`)
    other.remove(segment)
  }
  other.close()
  t.equal(other.known, 0)
  t.ok(files.known <= 1024, `${files.known} are remembered`)
  t.equal(files.covers({ segment: 9999, offset: 0, bytes: 4 }), false)
  const before = files.known
  for (let segment = 100_000; segment < 100_100; segment += 1) files.covers({ segment, offset: 0, bytes: 4 })
  t.equal(files.known, before, 'what is not there is not remembered')
  // The length of its own segment is: a file that somebody cut is not written to.
  truncateSync(segmentPath(dir, 1), 0)
  t.throws(() => files.write({ segment: 1, offset: 64, bytes: 4 }, Buffer.from('more')), /segment 1 was cut/)
})
