import fc from 'fast-check'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import { GETXATTR_IN, IN_HEADER, OPCODE, OPCODE_COUNT, opcodeInfo, READ_IN } from '../../lib/wire/index.ts'
import { FIXTURES, readFrame } from '../wire/hex.ts'
import { wireArchive } from '../wire/wire-archive.ts'
import { FrameDriver } from './frame-driver.ts'

/** FLISTFS_FUZZ_RUNS for more, FLISTFS_FUZZ_SEED to repeat a run. */
const numRuns = Number(process.env['FLISTFS_FUZZ_RUNS'] || 1500)
const seed = Number(process.env['FLISTFS_FUZZ_SEED'] || Date.now() & 0x7fff_ffff)
t.comment(`seed ${seed}, ${numRuns} runs`)

const driver = await FrameDriver.open(await wireArchive().write(t.testdir()))
t.teardown(() => driver.close())
const captured = readdirSync(FIXTURES)
  .filter((name) => name.endsWith('.hex'))
  .map((name) => readFrame(name.slice(0, -'.hex'.length)).frame)

interface Change {
  readonly at: number
  readonly value: number
  readonly width: 1 | 2 | 4
}

/** Words that decide something: 0, signs, sizes and their neighbours. */
const word = fc.oneof(
  fc.constantFrom(0, 1, 2, 7, 8, 255, 256, 4096, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1_048_576, 1_048_577),
  fc.nat({ max: 0xffff_ffff }),
)
const change = fc.record<Change>({
  at: fc.oneof(fc.nat({ max: 104 }), fc.constantFrom(4, 16, 20, 40, 44, 48, 52, 56)),
  value: word,
  width: fc.constantFrom(1, 2, 4),
})
const mutated = fc
  .record({
    base: fc.constantFrom(...captured),
    changes: fc.array(change, { maxLength: 6 }),
    cut: fc.option(fc.nat({ max: 200 })),
    more: fc.uint8Array({ maxLength: 600 }),
  })
  .map(({ base, changes, cut, more }) => {
    const frame = Buffer.concat([cut === null ? base : base.subarray(0, cut), more])
    for (const { at, value, width } of changes) {
      if (at + width <= frame.length) frame.writeUIntLE(value % 2 ** (8 * width), at, width)
    }
    return frame
  })
/** A header that holds, with any opcode and node of the tree, and noise behind. */
const made = fc
  .record({
    opcode: fc.nat({ max: OPCODE_COUNT + 3 }),
    node: fc.nat({ max: 9 }),
    body: fc.uint8Array({ maxLength: 300 }),
  })
  .map(({ opcode, node, body }) => {
    const frame = Buffer.concat([Buffer.alloc(IN_HEADER.size), body])
    frame.writeUInt32LE(frame.length, IN_HEADER.len)
    frame.writeUInt32LE(opcode, IN_HEADER.opcode)
    frame.writeBigUInt64LE(77n, IN_HEADER.unique)
    frame.writeBigUInt64LE(BigInt(node), IN_HEADER.nodeid)
    return frame
  })

/** The most bytes that the body of a reply may have: what was asked for, or the size of its structure. */
function bodyMax(frame: Buffer): number {
  const opcode = frame.readUInt32LE(IN_HEADER.opcode)
  const at = IN_HEADER.size
  if (opcode === OPCODE.read || opcode === OPCODE.readdir || opcode === OPCODE.readdirplus) {
    return Math.min(frame.readUInt32LE(at + READ_IN.bytes), 2 ** 20)
  }
  if (opcode === OPCODE.getxattr || opcode === OPCODE.listxattr) {
    return frame.readUInt32LE(at + GETXATTR_IN.bytes) || 8
  }
  return BODY_BYTES[opcode] ?? 0
}

const BODY_BYTES: Readonly<Record<number, number>> = {
  [OPCODE.lookup]: 128,
  [OPCODE.getattr]: 104,
  [OPCODE.readlink]: 4095,
  [OPCODE.statfs]: 80,
  [OPCODE.init]: 64,
}
/** All that a reader may be told. EIO would be a fault that was caught. */
const ERRNOS: ReadonlySet<number> = new Set(
  (
    [
      'ENOENT',
      'ENOTDIR',
      'EISDIR',
      'EINVAL',
      'ENODATA',
      'ERANGE',
      'ENAMETOOLONG',
      'ESTALE',
      'ENOSYS',
      'EROFS',
      'EPROTO',
    ] as const
  ).map((name) => ERRNO[name]),
)

function check(frame: Buffer): void {
  // What earlier requests left in the buffer must not be read.
  driver.answers.frame.bytes.fill(0x2e, frame.length, frame.length + 4096)
  // The driver itself checks `len` and `unique` of the reply.
  if (frame.length < IN_HEADER.size) {
    driver.answers.frame.bytes.set(frame)
    if (driver.dispatcher.respond(frame.length) !== 0) throw new Error('a reply to a frame without header')
    return
  }
  const reply = driver.send(frame)
  const opcode = frame.readUInt32LE(IN_HEADER.opcode)
  const info = opcodeInfo(opcode)
  if (reply === undefined) {
    if (info?.replies !== false) throw new Error('no reply')
    return
  }
  if (info?.replies === false) throw new Error('a reply that nobody waits for')
  if (reply.errno !== 0 && (reply.body.length > 0 || !ERRNOS.has(reply.errno))) throw new Error(`errno ${reply.errno}`)
  if (reply.errno === 0 && reply.body.length > bodyMax(frame)) throw new Error(`${reply.body.length} bytes`)
}

t.test('mutated requests are answered within their bounds', { timeout: 600_000 }, async (t) => {
  fc.assert(fc.property(mutated, check), { numRuns, seed })
  t.pass(`${numRuns} frames`)
})

t.test('made requests are answered within their bounds', { timeout: 600_000 }, async (t) => {
  fc.assert(fc.property(made, check), { numRuns, seed })
  t.pass(`${numRuns} frames`)
})

t.test('the same requests get the same replies afterwards', async (t) => {
  const name = Buffer.from('file\0')
  const before = driver.ask('lookup', 1n, name)
  fc.assert(fc.property(mutated, check), { numRuns: Math.min(numRuns, 300), seed: seed + 1 })
  t.strictSame(driver.ask('lookup', 1n, name), before)
})
