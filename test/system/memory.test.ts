import t from 'tap'
import { giveBackMemory } from '../../lib/system/index.ts'

void t.test('giveBackMemory() lets go of buffers that nobody holds, each time it is asked', (t) => {
  for (const round of [1, 2]) {
    const before = process.memoryUsage().arrayBuffers
    for (let count = 0; count < 64; count += 1) Buffer.alloc(512 * 1024, round)
    giveBackMemory()
    t.ok(process.memoryUsage().arrayBuffers < before + 4 * 512 * 1024, `round ${round}`)
  }
  t.end()
})
