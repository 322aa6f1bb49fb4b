import t from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import { describeReply, describeRequest, INTERRUPT_IN, OPCODE, OPEN_IN } from '../../lib/wire/index.ts'
import { frameOf } from '../kernel/frame-driver.ts'

t.test('describeRequest() names what a request is about', async (t) => {
  const open = Buffer.alloc(OPEN_IN.size)
  open.writeUInt32LE(0x8000, OPEN_IN.flags)
  const interrupt = Buffer.alloc(INTERRUPT_IN.size)
  interrupt.writeBigUInt64LE(2n ** 33n, INTERRUPT_IN.unique)
  const pid = `pid=${process.pid}`
  const cases: [Buffer, string][] = [
    [frameOf(OPCODE.open, 5n, open), `OPEN unique=2 node=5 ${pid} flags=0x8000`],
    [frameOf(OPCODE.interrupt, 0n, interrupt, 7n), `INTERRUPT unique=7 node=0 ${pid} of=8589934592`],
    [frameOf(OPCODE.getattr, 5n, Buffer.alloc(16)), `GETATTR unique=2 node=5 ${pid}`],
    [frameOf(OPCODE.lookup, 5n, Buffer.from('no end')), `LOOKUP unique=2 node=5 ${pid} "no end"`],
    [frameOf(OPCODE.read, 5n, Buffer.alloc(3)), `READ unique=2 node=5 ${pid}`],
    [frameOf(4000, 5n, Buffer.alloc(0)), `opcode 4000 unique=2 node=5 ${pid}`],
    [Buffer.alloc(39), 'short frame of 39 bytes'],
  ]
  for (const [frame, text] of cases) t.equal(describeRequest(frame), text)
})

t.test('describeReply() names what came of it', async (t) => {
  t.equal(describeReply(OPCODE.read, 0xffff_ffff, 1, 0, 4096, 99.6), 'READ unique=8589934591 ok bytes=4096 us=100')
  t.equal(
    describeReply(OPCODE.lookup, 2, -1, ERRNO.EIO, 0, 1),
    `LOOKUP unique=${0xffff_ffff_0000_0002n} EIO bytes=0 us=1`,
  )
  t.equal(describeReply(4000, 2, 0, ERRNO.ENOSYS, 0, 0.2), 'opcode 4000 unique=2 ENOSYS bytes=0 us=0')
})
