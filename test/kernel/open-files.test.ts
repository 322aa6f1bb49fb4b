import { closeSync, openSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ERRNO, LIMITS, Log } from '../../lib/base/index.ts'
import { FlWriter } from '../../lib/flist/index.ts'
import { OpenFiles } from '../../lib/kernel/index.ts'
import { Tree } from '../../lib/vfs/index.ts'
import { FOPEN, IN_HEADER, makeWords, OPEN_OUT, OUT_HEADER, RELEASE_IN } from '../../lib/wire/index.ts'
import { openArchive } from '../vfs/open-sample.ts'

const LARGE = LIMITS.ownSegmentBytesMin
const LARGE_NODE = 2
const SMALL_NODE = 3
/** FUSE_UNIQUE_RESEND: the kernel repeats a request. */
const RESENT = 1n << 63n

interface Opened {
  readonly whole: Map<number, string>
  /** Rows that the fetch thread was asked to make whole. */
  readonly asked: number[]
  /** `unique` is the request's number. */
  readonly open: (node: number, unique?: bigint) => { errno: number; flags: number; backingId: number }
  readonly release: (node: number, handle?: bigint) => number
  /** What a successor would load: handles of rows. */
  readonly kept: () => unknown
  readonly path: string
  readonly logged: () => string
}

/** On a descriptor that is no FUSE device: it refuses passthrough. test/e2e has the one that grants it. */
async function openFiles(t: Test): Promise<Opened> {
  const dir = t.testdir()
  const writer = new FlWriter(join(dir, 'a.fl'))
  const inode = { uid: 0, gid: 0, rdev: 0, ctime: 0, mtime: 0, mode: 0o100644, parent: 1 }
  writer.addInode({ ...inode, parent: 0, name: Buffer.from('/'), size: 0, mode: 0o040755 })
  writer.addInode({ ...inode, name: Buffer.from('large'), size: LARGE })
  writer.addInode({ ...inode, name: Buffer.from('small'), size: LARGE - 1 })
  writer.finish()
  const { index } = await openArchive(t, join(dir, 'a.fl'), join(dir, 'cache'))
  const [fd, log] = [openSync('/dev/null', 'r+'), new Log(openSync(join(dir, 'log'), 'w'))]
  t.teardown(() => closeSync(fd))
  const whole = new Map<number, string>()
  const asked: number[] = []
  let kept = '[]'
  const keeper = { load: () => [], save: (opens: unknown) => void (kept = JSON.stringify(opens)) }
  const files = new OpenFiles(fd, new Tree(index), { whole, opened: (row) => void asked.push(row) }, keeper, log)
  const [frame, reply] = [makeWords(256), makeWords(256)]
  const path = join(dir, 'segment')
  writeFileSync(path, '')
  truncateSync(path, LARGE)
  return {
    whole,
    asked,
    path,
    logged: () => readFileSync(join(dir, 'log'), 'utf8'),
    kept: () => JSON.parse(kept) as unknown,
    open(node, unique = 8n) {
      frame.u32[IN_HEADER.nodeid / 4] = node
      frame.bytes.writeBigUInt64LE(unique, IN_HEADER.unique)
      reply.bytes.fill(0xee)
      const got = files.open(frame, reply)
      if (got < 0) return { errno: -got, flags: 0, backingId: 0 }
      t.equal(got, OPEN_OUT.size)
      t.equal(reply.bytes.readBigUInt64LE(OUT_HEADER.size + OPEN_OUT.fh), unique & ~RESENT)
      const flags = reply.bytes.readUInt32LE(OUT_HEADER.size + OPEN_OUT.openFlags)
      return { errno: 0, flags, backingId: reply.bytes.readInt32LE(OUT_HEADER.size + OPEN_OUT.backingId) }
    },
    release(node, handle = 8n) {
      frame.u32[IN_HEADER.nodeid / 4] = node
      frame.bytes.writeBigUInt64LE(handle, IN_HEADER.size + RELEASE_IN.fh)
      return files.release(frame)
    },
  }
}

const THROUGH_US = { errno: 0, flags: FOPEN.keepCache, backingId: 0 }

t.test('a file that is not whole is read through us, and asked for', async (t) => {
  const { open, release, asked } = await openFiles(t)
  t.strictSame(open(LARGE_NODE, 8n), THROUGH_US)
  t.strictSame(open(LARGE_NODE, 10n), THROUGH_US)
  t.strictSame(asked, [LARGE_NODE - 1], 'once: later opens are of the same kind')
  t.equal(release(LARGE_NODE, 8n), 0)
  t.equal(release(LARGE_NODE, 10n), 0)
  t.strictSame(open(LARGE_NODE), THROUGH_US)
  t.strictSame(asked, [LARGE_NODE - 1, LARGE_NODE - 1], 'again after the last one was closed')
})

t.test('an open or a release that the kernel repeats counts once', async (t) => {
  const { open, release, kept } = await openFiles(t)
  const row = LARGE_NODE - 1
  open(LARGE_NODE, 8n)
  open(LARGE_NODE, 8n | RESENT)
  open(LARGE_NODE, (1n << 33n) + 2n)
  t.strictSame(kept(), [[row, { handles: [8, 2 ** 33 + 2], backingId: 0 }]])
  release(LARGE_NODE, 8n)
  release(LARGE_NODE, 8n)
  t.strictSame(kept(), [[row, { handles: [2 ** 33 + 2], backingId: 0 }]], 'the other one holds the file open still')
  release(LARGE_NODE, (1n << 33n) + 2n)
  t.strictSame(kept(), [])
})

t.test('a small file is nothing for the kernel', async (t) => {
  const { open, asked, kept } = await openFiles(t)
  t.strictSame(open(SMALL_NODE), THROUGH_US)
  t.strictSame(asked, [])
  t.strictSame(kept(), [], 'a successor need not know')
})

t.test('a refusal of the kernel leaves the file to us, and no descriptor', async (t) => {
  const { open, release, whole, path, asked, logged } = await openFiles(t)
  whole.set(LARGE_NODE - 1, path)
  const before = readdirSync('/proc/self/fd').length
  t.strictSame(open(LARGE_NODE), THROUGH_US)
  t.strictSame(asked, [])
  t.equal(readdirSync('/proc/self/fd').length, before)
  release(LARGE_NODE)
  t.strictSame(open(LARGE_NODE), THROUGH_US)
  t.equal(logged().match(/refused passthrough/g)?.length, 1, 'it is said once')
})

t.test('a segment that is gone or of another size is not used', async (t) => {
  const { open, release, whole, path, asked } = await openFiles(t)
  whole.set(LARGE_NODE - 1, path)
  const before = readdirSync('/proc/self/fd').length
  truncateSync(path, LARGE - 1)
  t.strictSame(open(LARGE_NODE), THROUGH_US)
  release(LARGE_NODE)
  whole.set(LARGE_NODE - 1, `${path}.gone`)
  t.strictSame(open(LARGE_NODE), THROUGH_US)
  t.strictSame(asked, [LARGE_NODE - 1, LARGE_NODE - 1])
  t.equal(readdirSync('/proc/self/fd').length, before)
})

t.test('nodes that are not in the archive, and releases too many', async (t) => {
  const { open, release } = await openFiles(t)
  t.equal(open(0).errno, ERRNO.ESTALE)
  t.equal(open(4).errno, ERRNO.ESTALE)
  t.equal(release(4), 0)
  t.equal(release(SMALL_NODE), 0)
})
