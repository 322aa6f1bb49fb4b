import t from 'tap'
import { BlockTable } from '../../lib/vfs/block-table.ts'

t.test('BlockTable tells both threads where blocks lie', async (t) => {
  const writer = new BlockTable(4)
  const reader = new BlockTable(4, writer.memory)
  t.equal(reader.length, 4)
  t.notOk(reader.has(2))
  writer.set(2, { segment: 7, offset: 128, bytes: 10 })
  t.ok(reader.has(2))
  t.equal(reader.segmentOf(2), 7)
  t.equal(reader.offsetOf(2), 128)
  t.equal(reader.segmentOf(1), 0)
  t.equal(reader.segmentOf(3), 0)
  writer.set(2, { segment: 0xffff_ffff, offset: 0xffff_ffff * 64, bytes: 10 })
  t.equal(reader.segmentOf(2), 0xffff_ffff)
  t.equal(reader.offsetOf(2), 0xffff_ffff * 64)
  t.equal(writer.filled, 1, 'a block that moved counts once')
  writer.clear(2)
  writer.clear(2)
  t.notOk(reader.has(2))
  t.equal(writer.filled, 0)
})

t.test('BlockTable leaves out what does not fit its fields', async (t) => {
  const table = new BlockTable(3)
  table.set(0, { segment: 0x1_0000_0000, offset: 0, bytes: 1 })
  table.set(1, { segment: 1, offset: 0x1_0000_0000 * 64, bytes: 1 })
  table.set(2, { segment: 1, offset: 63, bytes: 1 })
  t.strictSame(
    [0, 1, 2].map((block) => table.has(block)),
    [false, false, false],
  )
  t.equal(table.filled, 0)
})

t.test('a mark is taken once', async (t) => {
  const table = new BlockTable(2)
  const other = new BlockTable(2, table.memory)
  table.mark(1)
  t.notOk(other.takeMark(0))
  t.ok(other.takeMark(1))
  t.notOk(table.takeMark(1))
})
