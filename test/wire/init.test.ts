import t from 'tap'
import { LIMITS } from '../../lib/base/index.ts'
import {
  agree,
  describeRequest,
  INIT_FLAG,
  INIT_FLAG2,
  type InitWish,
  readInit,
  writeInit,
} from '../../lib/wire/index.ts'
import { INIT_IN, INIT_OUT } from '../../lib/wire/layout.ts'
import { readFrame } from './hex.ts'

const ALL = { major: 7, minor: 45, maxReadahead: 131_072, flags: 0xffff_ffff, flags2: 0xffff_ffff }
const NOTHING: InitWish = { posixAcl: false, passthrough: false, idmap: false }

function bits(flags: number): number[] {
  return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => ((flags >>> bit) & 1) === 1)
}

t.test('agree() takes what both want', async (t) => {
  t.strictSame(bits(agree(ALL, NOTHING).flags), [0, 4, 13, 17, 18, 21, 22, 23, 24, 30])
  t.strictSame(bits(agree(ALL, NOTHING).flags2), [7])
  const all = agree(ALL, { posixAcl: true, passthrough: true, idmap: true })
  t.ok(all.flags & INIT_FLAG.posixAcl)
  t.strictSame(bits(all.flags2), [5, 7, 8])
  const little = agree({ ...ALL, flags: INIT_FLAG.doReaddirplus, flags2: 0 }, { ...NOTHING, passthrough: true })
  t.equal(little.flags, INIT_FLAG.doReaddirplus)
  t.equal(little.flags2, 0)
  t.notOk(agree(ALL, NOTHING).flags & INIT_FLAG.readdirplusAuto, 'each page of a folder brings its attributes')
})

t.test('agree() speaks the older of two minors', async (t) => {
  for (const [offered, agreed] of [
    [34, 34],
    [45, 45],
    [46, 45],
    [60, 45],
  ] as const) {
    t.equal(agree({ ...ALL, minor: offered }, NOTHING).minor, agreed)
  }
})

t.test('readInit() reads the second flags only where they were sent', async (t) => {
  const { frame } = readFrame('init-7.45')
  const body = frame.subarray(40)
  t.equal(body.length, INIT_IN.size)
  const offer = readInit(frame, 40, body.length)
  t.equal(offer.major, 7)
  t.equal(offer.minor, 45)
  t.ok(offer.flags & INIT_FLAG.initExt)
  t.ok(offer.flags2 & INIT_FLAG2.allowIdmap)
  t.equal(readInit(frame, 40, INIT_IN.sizeMin).flags2, 0, 'a frame of 16 bytes')
  const old = Buffer.from(frame)
  old.writeUInt32LE(offer.flags & ~INIT_FLAG.initExt, 40 + INIT_IN.flags)
  t.equal(readInit(old, 40, body.length).flags2, 0, 'no INIT_EXT')
})

t.test('writeInit() asks for reads of 1 MiB', async (t) => {
  const body = writeInit(ALL, agree(ALL, { ...NOTHING, passthrough: true }))
  t.equal(body.length, INIT_OUT.size)
  t.equal(body.readUInt32LE(INIT_OUT.maxReadahead), 1024 * 1024)
  t.equal(body.readUInt16LE(INIT_OUT.maxPages), 256)
  t.equal(body.readUInt16LE(INIT_OUT.maxBackground), LIMITS.backgroundRequestsMax)
  t.equal(body.readUInt32LE(INIT_OUT.maxStackDepth), 1, 'passthrough needs it')
  t.equal(writeInit(ALL, agree(ALL, NOTHING)).readUInt32LE(INIT_OUT.maxStackDepth), 0)
})

t.test('describeRequest() says what it can of any bytes', async (t) => {
  t.equal(describeRequest(Buffer.alloc(0)), 'short frame of 0 bytes')
  t.equal(describeRequest(Buffer.alloc(39)), 'short frame of 39 bytes')
  const frame = Buffer.alloc(44)
  frame.writeUInt32LE(99, 4)
  t.equal(describeRequest(frame), 'opcode 99 unique=0 node=0 pid=0')
  frame.writeUInt32LE(1, 4)
  frame.write('abc', 40)
  t.equal(describeRequest(frame), 'LOOKUP unique=0 node=0 pid=0 "abc"')
  frame.fill(0xff, 40)
  t.match(describeRequest(frame), /^LOOKUP unique=0 node=0 pid=0 "[^\n]*"$/, 'a name without NUL, and no text')
})
