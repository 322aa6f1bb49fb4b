import t, { type Test } from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import { Answers, type MissSink } from '../../lib/kernel/index.ts'
import { BlockTable, CachedReads, SegmentFiles, Tree } from '../../lib/vfs/index.ts'
import { DIRENT, OPCODE, OUT_HEADER, READ_IN } from '../../lib/wire/index.ts'
import { openSample } from '../vfs/open-sample.ts'
import { ArchiveMaker, DIR, FILE, noise } from '../vfs/sample-archive.ts'
import { FrameDriver, frameOf } from './frame-driver.ts'

const maker = new ArchiveMaker()
  .add('dir', DIR)
  .add('dir/a', FILE)
  .add('dir/b', FILE)
  .add('file', FILE, { content: noise('file', 100) })
  .add('link', 0o120777, { target: 'file' })
const NODE = { root: 1n, dir: 2n, file: 3n, link: 4n, a: 5n } as const

function readIn(offset: bigint, bytes: number): Buffer {
  const body = Buffer.alloc(READ_IN.size)
  body.writeBigUInt64LE(offset, READ_IN.offset)
  body.writeUInt32LE(bytes, READ_IN.bytes)
  return body
}

async function openDriver(t: Test): Promise<FrameDriver> {
  const driver = await FrameDriver.open(await maker.write(t.testdir()))
  t.teardown(() => driver.close())
  return driver
}

t.test('with --verify always every read of a file goes to the fetch thread', async (t) => {
  const { index, cacheDir } = await openSample(t, maker)
  const table = new BlockTable(index.blockCount)
  table.set(0, { segment: 1, offset: 0, bytes: 100 })
  const asked: unknown[] = []
  const misses: MissSink = { read: (...words) => void asked.push(words), reached: () => undefined }
  const reads = new CachedReads(index, table, new SegmentFiles(cacheDir))
  const answers = new Answers(new Tree(index), reads, misses, true)
  const read = (node: bigint): number => {
    answers.frame.bytes.set(frameOf(OPCODE.read, node, readIn(7n, 50), 0x1_0000_0002n))
    return answers.read()
  }
  t.ok(read(NODE.file) < -0x10000, 'no errno: the answer comes later')
  t.strictSame(asked, [[2, 1, Number(NODE.file) - 1, 7, 50]])
  t.equal(read(NODE.dir), -ERRNO.EISDIR)
  t.equal(read(NODE.link), -ERRNO.EINVAL)
  t.equal(asked.length, 1)
})

t.test('readdir() from any cookie', async (t) => {
  const driver = await openDriver(t)
  const names = (cookie: bigint, bytes = 4096): string[] => {
    const page = driver.ask('readdir', NODE.dir, readIn(cookie, bytes))
    const found: string[] = []
    for (let at = 0; at < page.length;) {
      const end = at + DIRENT.size + page.readUInt32LE(at + DIRENT.namelen)
      found.push(page.toString('latin1', at + DIRENT.size, end))
      at = Math.ceil(end / 8) * 8
    }
    return found
  }
  t.strictSame(names(0n), ['.', '..', 'a', 'b'])
  t.strictSame(names(1n), ['..', 'a', 'b'])
  t.strictSame(names(3n), ['b'])
  for (const cookie of [4n, 5n, 0xffff_ffffn, 0x1_0000_0000n, 2n ** 63n, 2n ** 64n - 1n]) {
    t.strictSame(names(cookie), [], `cookie ${cookie}`)
  }
  t.strictSame(names(0n, 32 + 32 + 31), ['.', '..'], 'no record is cut')
  t.strictSame(names(0n, 31), [])
  t.strictSame(names(0n, 0xffff_ffff), ['.', '..', 'a', 'b'], 'more room than a reply can have')
})

t.test('what is asked of the wrong kind of node', async (t) => {
  const driver = await openDriver(t)
  t.throws(() => driver.ask('readdir', NODE.file, readIn(0n, 4096)), { code: 'ENOTDIR' })
  t.throws(() => driver.ask('readdirplus', NODE.link, readIn(0n, 4096)), { code: 'ENOTDIR' })
  t.throws(() => driver.ask('readlink', NODE.dir), { code: 'EINVAL' })
  t.throws(() => driver.ask('lookup', NODE.file, Buffer.from('x\0')), { code: 'ENOTDIR' })
  for (const op of ['getattr', 'readlink', 'read', 'readdir', 'lookup'] as const) {
    for (const node of [0n, 7n, 1n << 32n, 2n ** 64n - 1n]) {
      t.throws(() => driver.ask(op, node, readIn(0n, 10)), { code: 'ESTALE' }, `${op} of node ${node}`)
    }
  }
})

t.test('an absent name is answered so that the kernel remembers it', async (t) => {
  const driver = await openDriver(t)
  const out = driver.ask('lookup', NODE.root, Buffer.from('absent\0'))
  t.equal(out.length, 128)
  t.equal(out.readBigUInt64LE(0), 0n, 'no node')
  t.equal(out.readBigUInt64LE(16), 0x7fff_ffffn, 'for good')
  t.ok(
    out.subarray(24 + 16).every((byte) => byte === 0),
    'nothing else is said',
  )
})

t.test('a fault while answering is EIO to that reader, and the next request is answered', async (t) => {
  const driver = await openDriver(t)
  Object.defineProperty(driver.answers, 'getattr', {
    value: () => {
      throw new Error('a fault')
    },
    configurable: true,
  })
  t.throws(() => driver.ask('getattr', NODE.file, Buffer.alloc(16)), { code: 'EIO' })
  t.equal(driver.answers.reply.bytes.readUInt32LE(OUT_HEADER.len), OUT_HEADER.size)
  t.equal(driver.ask('lookup', NODE.root, Buffer.from('file\0')).readBigUInt64LE(0), NODE.file)
})
