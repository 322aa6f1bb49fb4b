import t from 'tap'
import { giveBackMemory, keepFreedBlocks } from '../../lib/system/index.ts'

void t.test('giveBackMemory() lets go of buffers that nobody holds, each time it is asked', (t) => {
  for (const round of [1, 2]) {
    const before = process.memoryUsage().arrayBuffers
    for (let count = 0; count < 64; count += 1) Buffer.alloc(512 * 1024, round)
    giveBackMemory()
    t.ok(process.memoryUsage().arrayBuffers < before + 4 * 512 * 1024, `round ${round}`)
  }
  t.end()
})

const header = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
const skip = header.header?.glibcVersionRuntime === undefined ? 'this C library has no mallopt' : false

void t.test('keepFreedBlocks() lets a freed block be used again without a page fault', { skip }, (t) => {
  keepFreedBlocks()
  const faults = (): number => process.resourceUsage().minorPageFault
  const block = (): void => void Buffer.alloc(512 * 1024, 1).buffer.transfer(0)
  block()
  const before = faults()
  for (let count = 0; count < 100; count += 1) block()
  const seen = faults() - before
  t.ok(seen < 6400, `${seen} faults for 12,800 pages`)
  t.end()
})
