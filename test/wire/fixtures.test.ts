import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import { describeRequest, IN_HEADER, OPCODE, OPCODE_INFO, opcodeInfo } from '../../lib/wire/index.ts'
import { FrameDriver, frameOf } from '../kernel/frame-driver.ts'
import type { Expected } from '../vfs/sample-archive.ts'
import { attrOut, dirent, entryOut, initOut, kstatfs, type Node } from './expected-replies.ts'
import { fieldsOf } from './fields.ts'
import { FIXTURES, readFrame } from './hex.ts'
import { wireArchive } from './wire-archive.ts'

const SUFFIX = '-7.45.hex'
const sample = await wireArchive().write(t.testdir())
const driver = await FrameDriver.open(sample)
t.teardown(() => driver.close())
const generation = Number.parseInt(driver.index.digest.slice(0, 8), 16)
const fixtures = readdirSync(FIXTURES)
  .filter((name) => name.endsWith(SUFFIX))
  .map((name) => name.slice(0, -SUFFIX.length))

/** Breadth first, names in order: root, dir file link stalled, then what is in dir. */
const NODES: Readonly<Record<string, readonly [node: bigint, nlink: number]>> = {
  '': [1n, 3],
  dir: [2n, 3],
  file: [3n, 1],
  link: [4n, 1],
  stalled: [5n, 1],
  'dir/child': [6n, 1],
  'dir/long-name-of-27-characters': [7n, 2],
}

function nodeOf(path: string): Node {
  const entry: Expected | undefined = sample.entries.find((each) => each.path.toString() === path)
  const [node, nlink] = NODES[path] ?? [0n, 0]
  if (entry === undefined) throw new RangeError(path)
  return { entry, node, nlink }
}

function numbered(node: bigint): Node {
  const found = Object.entries(NODES).find(([, [number]]) => number === node)
  if (found === undefined) throw new RangeError(`node ${node}`)
  return nodeOf(found[0])
}

const MODE_DIR = 0o040755
const [ROOT, DIR_NODE] = [1n, 2n]
const [CHILD, LONG] = ['dir/child', 'dir/long-name-of-27-characters']

/** All of `dir`, which fits one page. */
function page(plus: boolean): Buffer {
  const head = (node?: Node): Buffer =>
    plus ? (node === undefined ? Buffer.alloc(128) : entryOut(node, generation)) : Buffer.alloc(0)
  const child = (path: string, off: number): Buffer[] => {
    const node = nodeOf(path)
    return [head(node), dirent(node.node, off, Buffer.from(path.slice('dir/'.length)), node.entry.mode)]
  }
  return Buffer.concat([
    head(),
    dirent(DIR_NODE, 1, Buffer.from('.'), MODE_DIR),
    head(),
    dirent(ROOT, 2, Buffer.from('..'), MODE_DIR),
    ...child(CHILD, 3),
    ...child(LONG, 4),
  ])
}

/** ASYNC_READ 0, EXPORT_SUPPORT 4, DO_READDIRPLUS 13, NO_OPEN 17, PARALLEL_DIROPS 18, ABORT_ERROR 21, MAX_PAGES 22,
 *  CACHE_SYMLINKS 23, NO_OPENDIR 24, INIT_EXT 30; HAS_RESEND 39, ALLOW_IDMAP 40. */
const FLAGS = [0, 4, 13, 17, 18, 21, 22, 23, 24, 30].reduce((sum, bit) => sum + 2 ** bit, 0)
const FLAGS2 = [39, 40].reduce((sum, bit) => sum + 2 ** (bit - 32), 0)

/** Bodies of the replies to what is answered by content; the others are EROFS, ENOSYS or silent. */
const REPLIES: Readonly<Record<string, (frame: Buffer) => Buffer>> = {
  lookup: () => entryOut(nodeOf('file'), generation),
  'lookup-dot': (frame) => entryOut(numbered(frame.readBigUInt64LE(IN_HEADER.nodeid)), generation),
  'lookup-dot-dot': () => entryOut(nodeOf('dir'), generation),
  getattr: (frame) => attrOut(numbered(frame.readBigUInt64LE(IN_HEADER.nodeid))),
  readlink: () => Buffer.from('dir/child'),
  read: () => nodeOf('file').entry.content ?? Buffer.alloc(0),
  readdir: () => page(false),
  readdirplus: () => page(true),
  getxattr: () => Buffer.from('value'),
  listxattr: () => Buffer.from('user.note\0'),
  statfs: () => kstatfs(10_000 + 4096, 7),
  init: () => initOut(45, FLAGS, FLAGS2, 4096),
  destroy: () => Buffer.alloc(0),
}
const SILENT = ['forget', 'batch-forget', 'interrupt']

/** What an operation carries besides: nodes, values, data. */
const HAS_MORE = new Set(['batch-forget', 'setxattr', 'write', 'ioctl'])

for (const name of fixtures) {
  t.test(`${name} as Linux 6.18 sends it`, async (t) => {
    const { frame, fields } = readFrame(`${name}-7.45`)
    const opcode = frame.readUInt32LE(IN_HEADER.opcode)
    const info = opcodeInfo(opcode)
    t.equal(
      info?.name,
      name
        .replace(/^lookup.*/, 'lookup')
        .replaceAll('-', '_')
        .toUpperCase(),
    )
    t.equal(frame.readUInt32LE(IN_HEADER.len), frame.length)
    t.equal(frame.readUInt16LE(IN_HEADER.extlen), 0)
    t.match(describeRequest(frame), `${info?.name ?? ''} unique=${frame.readBigUInt64LE(IN_HEADER.unique)} node=`)
    t.strictSame(fieldsOf(frame), fields, 'the tables cut it into the fields that stand there')
    for (const { note } of fields) {
      const [, text] = /^name "(.*)" and NUL$/.exec(note) ?? []
      if (text !== undefined && info?.names === 1) t.ok(describeRequest(frame).endsWith(`"${text}"`))
    }
    const names = fields.filter(({ note }) => note.startsWith('name '))
    t.equal(names.length, info?.names)
    const rest = fields.filter(({ note }) => note.startsWith('more '))
    if (!HAS_MORE.has(name)) t.strictSame(rest, [], 'nothing follows the fixed part and the names')

    const reply = driver.send(frame)
    if (SILENT.includes(name)) t.equal(reply, undefined)
    else if (REPLIES[name] === undefined) {
      t.strictSame(reply, { errno: info?.writes === true ? ERRNO.EROFS : ERRNO.ENOSYS, body: Buffer.alloc(0) })
    } else t.strictSame(reply, { errno: 0, body: REPLIES[name](frame) })
  })

  t.test(`${name} cut short`, async (t) => {
    const { frame } = readFrame(`${name}-7.45`)
    const info = opcodeInfo(frame.readUInt32LE(IN_HEADER.opcode))
    const bodyBytes = info?.bodyBytes ?? 0
    for (let length = 0; length < frame.length; length += 1) {
      const reply = sendCut(frame.subarray(0, length))
      if (length < IN_HEADER.size) t.equal(reply, undefined, 'a frame without header has no reply')
      else if (SILENT.includes(name)) t.equal(reply, undefined)
      else if (length < IN_HEADER.size + bodyBytes) t.equal(reply, ERRNO.EINVAL, `${length} bytes`)
    }
    if (bodyBytes === 0 && info?.names === 0) return
    t.ok(existsSync(join(FIXTURES, `${name}-7.45.short.hex`)), 'the cut twin is there')
    const short = readFrame(`${name}-7.45.short`).frame
    t.ok(short.equals(frame.subarray(0, short.length)) && short.length < frame.length, 'the same bytes, fewer')
    const ignoresNames = info?.writes === true && bodyBytes === 0
    t.equal(sendCut(short), SILENT.includes(name) ? undefined : ignoresNames ? ERRNO.EROFS : ERRNO.EINVAL)
  })
}

/** The errno of the reply to a frame that ends early, behind which the buffer still holds another request. */
function sendCut(frame: Buffer): number | undefined {
  driver.answers.frame.bytes.fill(0x61, 0, 4096)
  if (frame.length >= IN_HEADER.size) return driver.send(frame)?.errno
  driver.answers.frame.bytes.set(frame)
  return driver.dispatcher.respond(frame.length) === 0 ? undefined : -1
}

t.test('everything answered otherwise than ENOSYS and EROFS has its fixture', async (t) => {
  for (const [opcode, info] of Object.entries(OPCODE_INFO)) {
    // A kernel sends it only after a notification that is never sent here.
    if (Number(opcode) === OPCODE.notifyReply) continue
    const errno = driver.send(frameOf(Number(opcode), 1n, Buffer.alloc(128)))?.errno
    if (errno === ERRNO.ENOSYS || errno === ERRNO.EROFS) continue
    t.ok(fixtures.includes(info.name.toLowerCase().replaceAll('_', '-')), info.name)
  }
  t.ok(fixtures.includes('open') && fixtures.includes('release'), 'answered with --passthrough')
})

t.test('INTERRUPT names the request to end', async (t) => {
  const { frame } = readFrame('interrupt-7.45')
  driver.interrupts.length = 0
  driver.send(frame)
  t.strictSame(driver.interrupts, [frame.readBigUInt64LE(IN_HEADER.size)])
  t.equal(frame.readBigUInt64LE(IN_HEADER.unique), driver.interrupts[0] === undefined ? 0n : driver.interrupts[0] + 1n)
})
