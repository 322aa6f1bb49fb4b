import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { LIMITS } from '../../../lib/base/index.ts'
import { unpackV1 } from '../../../lib/flist/v1/container.ts'
import { isFloatRounding } from '../../../lib/flist/v1/float-rounding.ts'
import { readV1 } from '../../../lib/flist/v1/read-v1.ts'
import { goldenDir, NO_GOLDEN } from '../../golden.ts'
import { MemorySink, type MemoryEntry } from './memory-sink.ts'

const golden = `${goldenDir() ?? ''}/v1`
const TYPES: Record<string, number> = { dir: 0o040000, file: 0o100000, link: 0o120000, symlink: 0o120000 }

async function decode(test: Test, name: string): Promise<MemorySink> {
  const sink = new MemorySink()
  const signal = AbortSignal.timeout(120_000)
  const { databasePath, routerYaml } = await unpackV1(`${golden}/${name}.flist`, `${test.testdir()}/db`, signal)
  await readV1(databasePath, sink, { signal, routerYaml })
  return sink
}

type Fields = Record<string, unknown>

function json(path: string): Fields {
  return JSON.parse(readFileSync(`${golden}/${path}`, 'utf8')) as Fields
}

/** Dumps name bytes as text, or as {hex} where they are no UTF-8. */
function bytesOf(value: unknown): Buffer {
  if (typeof value === 'string') return Buffer.from(value)
  return Buffer.from(String((value as { hex: string }).hex), 'hex')
}

function expectedMode(inode: Fields): number {
  const permissions = Number.parseInt(String(inode['mode']), 8)
  if (inode['type'] !== 'special') return (TYPES[String(inode['type'])] ?? 0) | permissions
  return (/^\d+,\d+$/.test(String(inode['special_data'])) ? 0o020000 : 0o140000) | permissions
}

for (const name of ['hand', 'debian', 'rawnames', 'floatbug', 'router', 'metadata', 'nobackend', 'empty']) {
  void t.test(`readV1() gives what ${name}.flist holds`, { skip: NO_GOLDEN }, async (t) => {
    const sink = await decode(t, name)
    const dump = json(`dump/${name}.json`)
    const found = sink.byPath()
    const inodes = dump['inodes'] as Fields[]
    t.equal(found.size, inodes.length + 1, 'as many entries')
    t.equal(sink.entries.length, inodes.length + 1, 'each once')
    t.strictSame(Object.fromEntries(sink.tags), dump['metadata'], 'tags')
    const { size, mtime, ctime, acl } = (dump['dirs'] as Fields[])[0] as {
      size: number
      mtime: number
      ctime: number
      acl: Fields
    }
    const mode = 0o040000 | Number(acl['mode'])
    t.match(found.get(''), { mode, uid: acl['uid'], gid: acl['gid'], size, mtime, ctime }, 'root')
    for (const inode of inodes) compare(t, found.get(bytesOf(inode['path']).toString('hex')), inode)
  })
}

function compare(test: Test, entry: MemoryEntry | undefined, inode: Fields): void {
  const { uid, gid, size, mtime, ctime } = inode
  const blocks = ((inode['blocks'] ?? []) as { hash: string; key: string }[]).map(({ hash, key }) => [hash, key])
  const wanted: Fields = { mode: expectedMode(inode), uid, gid, size, mtime, ctime, blocks }
  const got: Fields = {}
  for (const field of Object.keys(wanted)) got[field] = entry?.[field as keyof MemoryEntry]
  test.strictSame(got, wanted, JSON.stringify(inode['path']))
  if (inode['type'] === 'link' && typeof inode['target'] === 'string') {
    test.equal(entry?.target?.toString(), inode['target'])
  }
}

for (const name of ['hand', 'debian', 'bigdir', 'rawnames', 'floatbug']) {
  void t.test(`readV1() gives the tree ${name}.flist was made of`, { skip: NO_GOLDEN }, async (t) => {
    const found = (await decode(t, name)).byPath()
    const entries = json(`${name}.manifest.json`)['entries'] as Fields[]
    t.equal(found.size, entries.length)
    let wrong = 0
    for (const fact of entries) {
      const path =
        fact['path_hex'] === undefined
          ? Buffer.from(String(fact['path'])).toString('hex')
          : (fact['path_hex'] as string)
      if (path === '') continue
      const entry = found.get(path)
      const type = TYPES[String(fact['type'])]
      const device = type === undefined && fact['type'] !== 'fifo' && fact['type'] !== 'socket'
      const mode = Number.parseInt(String(fact['mode']), 8) | (type ?? (device ? 0o020000 : 0o140000))
      const target =
        fact['target_hex'] ??
        (typeof fact['target'] === 'string' ? Buffer.from(fact['target']).toString('hex') : undefined)
      const wanted = [mode, fact['uid'], fact['gid'], fact['size'], fact['mtime'], fact['ctime'], target]
      const got = [
        entry?.mode,
        entry?.uid,
        entry?.gid,
        entry?.size,
        entry?.mtime,
        entry?.ctime,
        entry?.target?.toString('hex'),
      ]
      if (!t.strictSame(got, wanted, path)) wrong += 1
      if (wrong > 5) break
    }
  })
}

void t.test('readV1() keeps what a device, an owner and a short file have', { skip: NO_GOLDEN }, async (t) => {
  const hand = (await decode(t, 'hand')).byPath()
  const at = (path: string): MemoryEntry | undefined => hand.get(Buffer.from(path).toString('hex'))
  t.equal(at('special/big-major')?.rdev, ((70000 & 0xff) | (259 << 8) | ((70000 & ~0xff) << 12)) >>> 0)
  t.equal(at('special/null')?.rdev, 0x103)
  const short = [...(await decode(t, 'floatbug')).byPath().values()].filter(
    ({ mode, size, blocks }) => mode === 0o100644 && blocks.length < Math.ceil(size / LIMITS.blockBytesMax),
  )
  t.equal(short.length, 2)
  for (const { size, blocks } of short) t.ok(isFloatRounding(size, blocks.length), `${size} in ${blocks.length} blocks`)
})

void t.test('readV1() gives the routes in the order to try', { skip: NO_GOLDEN }, async (t) => {
  t.strictSame((await decode(t, 'router')).routes, [
    { start: 0, end: 127, url: 'redis://127.0.0.1:19900' },
    { start: 128, end: 255, url: 'redis://127.0.0.1:19900' },
  ])
  t.strictSame((await decode(t, 'metadata')).routes, [{ start: 0, end: 255, url: 'zdb://hub.grid.tf:9900/default' }])
  t.strictSame((await decode(t, 'nobackend')).routes, [])
})
