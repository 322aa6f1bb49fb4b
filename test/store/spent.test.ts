import t from 'tap'
import { LIMITS } from '../../lib/base/index.ts'
import { forgetStored, freeBytes, giveStored, SharedBytes, takeStored } from '../../lib/store/spent.ts'

void t.test('freeBytes() empties a large buffer that is all of its memory', async (t) => {
  const bytes = Buffer.allocUnsafeSlow(524_288)
  freeBytes(bytes)
  t.equal(bytes.length, 0)
  freeBytes(bytes)
  t.equal(bytes.length, 0, 'twice is fine')
})

void t.test('freeBytes() leaves alone what others may share', async (t) => {
  const whole = Buffer.alloc(524_288, 7)
  freeBytes(whole.subarray(1))
  freeBytes(whole.subarray(0, 100_000))
  const small = Buffer.alloc(1000, 7)
  freeBytes(small)
  const shared = Buffer.from(new SharedArrayBuffer(524_288))
  freeBytes(shared)
  t.same([whole.length, whole.at(-1), small.at(-1), shared.length], [524_288, 7, 7, 524_288])
})

void t.test('takeStored() gives memory again that was given back', async (t) => {
  t.teardown(forgetStored)
  const first = takeStored(400_000)
  t.equal(first.length, 400_000)
  t.ok(first.buffer instanceof SharedArrayBuffer)
  const other = takeStored(400_000)
  t.not(other.buffer, first.buffer, 'two in use')
  giveStored(first)
  const again = takeStored(LIMITS.storedBlockBytesMax)
  t.equal(again.buffer, first.buffer)
  t.equal(again.length, LIMITS.storedBlockBytesMax)
  giveStored(again)
  forgetStored()
  t.not(takeStored(400_000).buffer, first.buffer)
})

void t.test('takeStored() keeps no more than a store may have in flight', async (t) => {
  t.teardown(forgetStored)
  const many = Array.from({ length: LIMITS.connectionsPerStore + 3 }, () => takeStored(100_000))
  for (const one of many) giveStored(one)
  const known = new Set(many.map(({ buffer }) => buffer))
  const again = many.map(() => takeStored(100_000)).filter(({ buffer }) => known.has(buffer))
  t.equal(again.length, LIMITS.connectionsPerStore)
})

void t.test('small, too large and foreign bytes have no such memory', async (t) => {
  const buffers = [takeStored(4096), takeStored(LIMITS.storedBlockBytesMax + 1), Buffer.alloc(524_288)]
  for (const bytes of buffers) {
    const { length } = bytes
    t.notOk(bytes.buffer instanceof SharedArrayBuffer)
    giveStored(bytes)
    t.equal(bytes.length, length, 'left as it is')
  }
  giveStored(Buffer.from(new SharedArrayBuffer(100_000)))
  t.not(takeStored(100_000).buffer.byteLength, 100_000)
})

void t.test('SharedBytes frees with the last reader', async (t) => {
  const bytes = Buffer.allocUnsafeSlow(100_000)
  const shared = new SharedBytes(bytes, 2)
  shared.done()
  t.equal(bytes.length, 100_000)
  shared.done()
  t.equal(bytes.length, 0)
})
