import t from 'tap'
import { MessageError, MessageReader } from '../../../lib/flist/v1/capnp.ts'
import { MessageWriter } from './write-message.ts'

/** A message of these words in one segment, or of several segments. */
function message(...segments: bigint[][]): Buffer {
  const table = Buffer.alloc(8 * Math.ceil((4 + 4 * segments.length) / 8))
  table.writeUInt32LE(segments.length - 1, 0)
  segments.forEach((words, index) => table.writeUInt32LE(words.length, 4 + 4 * index))
  const body = Buffer.alloc(8 * segments.flat().length)
  segments.flat().forEach((word, index) => body.writeBigUInt64LE(BigInt.asUintN(64, word), 8 * index))
  return Buffer.concat([table, body])
}

const structPointer = (offset: number, dataWords: number, pointers: number): bigint =>
  BigInt.asUintN(32, BigInt(offset * 4)) | (BigInt(dataWords) << 32n) | (BigInt(pointers) << 48n)
const listPointer = (offset: number, element: number, count: number): bigint =>
  BigInt.asUintN(32, BigInt(offset * 4 + 1)) | (BigInt(element) << 32n) | (BigInt(count) << 35n)
const farPointer = (segment: number, word: number, double = false): bigint =>
  BigInt(word * 8 + (double ? 6 : 2)) | (BigInt(segment) << 32n)

function loaded(...segments: bigint[][]): MessageReader {
  const reader = new MessageReader()
  reader.load(message(...segments))
  return reader
}

void t.test('MessageReader follows pointers forwards, backwards, near and far', (t) => {
  const near = loaded([structPointer(0, 1, 1), 7n, listPointer(0, 2, 4), 0x00636261n])
  t.ok(near.followRoot())
  t.equal(near.u32(near.at), 7)
  t.equal(near.u16(near.at), 7)
  t.equal(near.i64(near.at), 7n)
  near.followText(near.segment, near.at + near.dataBytes)
  t.equal(near.latin1(), 'abc')
  t.same(near.bytes(), Buffer.from('abc'))
  const single = loaded([farPointer(1, 1)], [42n, structPointer(-2, 1, 0)])
  t.ok(single.followRoot())
  t.equal(single.i64(single.at), 42n)
  const double = loaded([farPointer(2, 0, true)], [0n, 43n], [farPointer(1, 1), structPointer(0, 1, 0)])
  t.ok(double.followRoot())
  t.equal(double.i64(double.at), 43n)
  t.equal(double.segment, 1)
  t.notOk(loaded([0n]).followRoot(), 'null')
  t.notOk(loaded([farPointer(1, 0)], [0n]).followRoot(), 'null through a far pointer')
  t.ok(loaded([structPointer(-1, 0, 0)]).followRoot(), 'a struct of no size')
  t.end()
})

void t.test('MessageReader takes lists of every kind that may stand for structs', (t) => {
  const reader = new MessageReader()
  for (const [element, dataBytes, pointers] of [
    [0, 0, 0],
    [2, 1, 0],
    [3, 2, 0],
    [4, 4, 0],
    [5, 8, 0],
    [6, 0, 1],
  ] as const) {
    reader.load(message([listPointer(0, element, 1), 0n]))
    const start = 8
    t.ok(reader.followStructs(0, start))
    t.same(
      [reader.count, reader.dataBytes, reader.pointers, reader.strideBytes],
      [1, dataBytes, pointers, dataBytes + 8 * pointers],
    )
  }
  reader.load(message([listPointer(0, 7, 6), structPointer(2, 1, 2), 1n, 0n, 0n, 2n, 0n, 0n]))
  t.ok(reader.followStructs(0, 8))
  t.same([reader.at, reader.count, reader.dataBytes, reader.pointers, reader.strideBytes], [24, 2, 8, 2, 24])
  reader.load(message([listPointer(0, 2, 0), 0n]))
  reader.followText(0, 8)
  t.equal(reader.count, 0, 'empty text without its NUL')
  reader.followText(0, 16)
  t.equal(reader.count, 0, 'null text')
  t.notOk(reader.followStructs(0, 16), 'null list')
  t.end()
})

void t.test('MessageReader refuses what leads nowhere', (t) => {
  const root =
    (...segments: bigint[][]) =>
    () =>
      loaded(...segments).followRoot()
  const structs =
    (...segments: bigint[][]) =>
    () =>
      loaded(...segments).followStructs(0, segments.length > 1 ? 16 : 8)
  const cases: Record<string, () => unknown> = {
    'a struct past the end': root([structPointer(0, 1, 0)]),
    'a struct before the start': root([structPointer(-2, 1, 0)]),
    'a struct far before the start': root([structPointer(-(2 ** 29), 1, 0)]),
    'a struct in the next segment': root([structPointer(0, 1, 0)], [1n]),
    'a list for a struct': root([listPointer(0, 2, 0)]),
    'a capability': root([3n]),
    'a far pointer to itself': root([farPointer(0, 0)]),
    'far pointers in a ring': root([farPointer(1, 0)], [farPointer(0, 0)]),
    'a double-far pointer to itself': root([farPointer(0, 0, true), 0n]),
    'a double-far ring': root([farPointer(1, 0, true)], [farPointer(0, 0, true), 0n]),
    'a double-far pointer with a far tag': root([farPointer(1, 0, true)], [farPointer(0, 0), farPointer(0, 0)]),
    'a double-far pointer to null': root([farPointer(1, 0, true)], [0n, 0n]),
    'a double-far pad that is cut off': root([farPointer(1, 0, true)], [farPointer(0, 0)]),
    'a far pointer to no segment': root([farPointer(9, 0)]),
    'a far pointer to the last segment': root([farPointer(0xffffffff, 0)]),
    'a far pointer past its segment': root([farPointer(1, 1)], [0n]),
    'a list of too many structs': structs([listPointer(0, 7, 1), structPointer(2, 1, 0), 0n]),
    'a list of 2^29 structs of no size': structs([listPointer(0, 7, 0), structPointer(2 ** 29 - 1, 0, 0)]),
    'a list of 2^29 nothings': structs([listPointer(0, 0, 2 ** 29 - 1)]),
    'a list of 2^29 pointers': structs([listPointer(0, 6, 2 ** 29 - 1)]),
    'a list of bits': structs([listPointer(0, 1, 1), 0n]),
    'a list with a list for its tag': structs([listPointer(0, 7, 1), listPointer(0, 7, 1), 0n]),
    'a list without room for its tag': structs([listPointer(0, 7, 0)]),
    'a struct for a list': structs([structPointer(-1, 0, 0)]),
    'pointers for text': () => loaded([listPointer(0, 6, 1), 0n]).followBytes(0, 8),
  }
  for (const [name, follow] of Object.entries(cases)) t.throws(follow, MessageError, name)
  t.end()
})

void t.test('MessageReader refuses a broken frame', (t) => {
  const reader = new MessageReader()
  const frames = [
    '',
    '0000',
    '00000000ffffffff',
    'ffffffff00000000',
    'ffffff7f00000000',
    '0000000001000000',
    '0100000001000000',
  ]
  for (const hex of frames) t.throws(() => reader.load(Buffer.from(hex, 'hex')), MessageError, hex)
  reader.load(Buffer.alloc(8))
  t.throws(() => reader.followRoot(), MessageError, 'no words')
  t.end()
})

void t.test('MessageReader visits each word a few times at most', (t) => {
  // Two lists of a thousand pointers each, all to the same kilobyte.
  const words = [
    listPointer(1000, 6, 1000),
    ...Array.from({ length: 1000 }, (_, i) => listPointer(1000 - i - 1, 2, 8000)),
    ...Array.from({ length: 1000 }, () => 0n),
  ]
  const reader = loaded(words)
  t.throws(() => {
    for (let index = 0; index < 1000; index += 1) reader.followBytes(0, 16 + 8 * index)
  }, /overlap/)
  t.end()
})

void t.test('MessageReader reads a message of more segments than others allow', (t) => {
  for (const doubleFar of [false, true]) {
    const writer = new MessageWriter(4, doubleFar)
    const slot = writer.structs([0, 0], 700, 0, 1)
    for (let index = 0; index < 700; index += 1)
      writer.text([slot[0], slot[1] + index], `a text of some length, ${index}`)
    const reader = new MessageReader()
    const bytes = writer.finish()
    t.ok(bytes.readUInt32LE(0) > 600, `${bytes.readUInt32LE(0) + 1} segments`)
    reader.load(bytes)
    t.ok(reader.followStructs(0, 8 * Math.ceil((8 + 4 * bytes.readUInt32LE(0)) / 8)))
    const { segment, at } = reader
    for (let index = 0; index < 700; index += 1) {
      reader.followText(segment, at + 8 * index)
      if (reader.latin1() !== `a text of some length, ${index}`) t.fail(`text ${index} is ${reader.latin1()}`)
    }
  }
  t.end()
})
