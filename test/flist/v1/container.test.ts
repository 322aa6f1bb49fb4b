import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { LIMITS } from '../../../lib/base/index.ts'
import { unpackV1, type UnpackedV1 } from '../../../lib/flist/v1/container.ts'
import { tarOf } from './test-archive.ts'

const dir = t.testdir()
const NEVER = new AbortController().signal
const DATABASE = Buffer.alloc(5000, 'd')
const ROUTER = Buffer.from('pools: {}\nlookup: []\n')
let count = 0

async function unpack(archive: Buffer, signal = NEVER): Promise<UnpackedV1> {
  const path = `${dir}/${(count += 1)}.flist`
  writeFileSync(path, archive)
  return unpackV1(path, `${path}.tmp`, signal)
}

void t.test('unpackV1() takes database and router out of what tools write', async (t) => {
  const plain = await tarOf([
    { name: './', type: 'directory' },
    { name: './other', bytes: Buffer.alloc(100_000) },
    { name: './router.yaml', bytes: ROUTER },
    { name: './flistdb.sqlite3', bytes: DATABASE },
    { name: 'sub/flistdb.sqlite3', bytes: Buffer.from('not this one') },
  ])
  const bare = await tarOf([
    { name: 'flistdb.sqlite3', bytes: DATABASE },
    { name: 'link', type: 'symlink', linkname: '/etc' },
  ])
  // GNU tar's way with numbers: padded with spaces.
  const spaced = Buffer.from(bare)
  spaced.write('      11610 ', 124, 'latin1')
  spaced.write('        ', 148, 'latin1')
  const sum = spaced.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  spaced.write(`${sum.toString(8).padStart(6)}\0 `, 148, 'latin1')
  for (const archive of [plain, gzipSync(plain), bare, gzipSync(bare), spaced, gzipSync(spaced)]) {
    const { databasePath, routerYaml } = await unpack(archive)
    t.ok(readFileSync(databasePath).equals(DATABASE))
    t.strictSame(routerYaml, archive === plain || archive.equals(gzipSync(plain)) ? ROUTER : undefined)
  }
})

void t.test('unpackV1() leaves a bare database where it is', async (t) => {
  const { databasePath } = await unpack(Buffer.from('SQLite format 3\0 and so on'))
  t.match(databasePath, /\.flist$/)
})

void t.test('unpackV1() refuses what no tool writes, and leaves nothing behind', async (t) => {
  const good = await tarOf([{ name: 'flistdb.sqlite3', bytes: DATABASE }])
  const packed = gzipSync(good)
  const flipped = Buffer.from(packed)
  flipped.writeUInt8(flipped.readUInt8(60) ^ 0x55, 60)
  const archives: Record<string, Buffer> = {
    nothing: Buffer.alloc(0),
    'neither tar nor gzip': Buffer.alloc(2000, 'x'),
    'an empty tar': Buffer.alloc(1024),
    'no database': await tarOf([{ name: 'other', bytes: DATABASE }]),
    'a link for a database': await tarOf([{ name: 'flistdb.sqlite3', type: 'symlink', linkname: '/etc/passwd' }]),
    'a folder for a database': await tarOf([{ name: 'flistdb.sqlite3', type: 'directory' }]),
    'two databases': await tarOf([
      { name: 'flistdb.sqlite3', bytes: DATABASE },
      { name: './flistdb.sqlite3', bytes: DATABASE },
    ]),
    'two routers': await tarOf([
      { name: 'router.yaml', bytes: ROUTER },
      { name: './router.yaml', bytes: ROUTER },
    ]),
    'a way up': gzipSync(await tarOf([{ name: '../flistdb.sqlite3', bytes: DATABASE }])),
    'a way up and down': await tarOf([{ name: 'a/../flistdb.sqlite3', bytes: DATABASE }]),
    'an absolute name': await tarOf([{ name: '/flistdb.sqlite3', bytes: DATABASE }]),
    'a way out after the database': gzipSync(
      await tarOf([
        { name: 'flistdb.sqlite3', bytes: DATABASE },
        { name: '../x', bytes: ROUTER },
      ]),
    ),
    'gzip cut off': packed.subarray(0, packed.length - 9),
    'gzip without its checksum': packed.subarray(0, packed.length - 8),
    'gzip cut off at once': packed.subarray(0, 12),
    'a flipped byte': flipped,
    'gzip and garbage': Buffer.concat([packed, Buffer.from('garbage')]),
    'tar cut off': good.subarray(0, 3000),
    'tar and garbage': Buffer.concat([good, Buffer.alloc(700, 'g')]),
    'tar and a short piece of garbage': Buffer.concat([good, Buffer.alloc(7, 'g')]),
  }
  for (const [name, archive] of Object.entries(archives)) {
    await t.rejects(unpack(archive), { code: 'FLIST_ARCHIVE_DAMAGED' }, name)
    t.notOk(existsSync(`${dir}/${count}.flist.tmp`), `${name}: nothing left`)
  }
})

void t.test('unpackV1() ends at its limits', async (t) => {
  // 65 MiB of zeros pack to 65 KiB: a thousand times.
  const bomb = gzipSync(await tarOf([{ name: 'flistdb.sqlite3', bytes: Buffer.alloc(100 * 2 ** 20) }]))
  await t.rejects(unpack(bomb), { code: 'FLIST_LIMIT', message: /unpacks to more/ })
  t.notOk(existsSync(`${dir}/${count}.flist.tmp`))
  const members = Array.from({ length: LIMITS.tarMembersMax + 1 }, (_, index) => ({ name: `${index}` }))
  await t.rejects(unpack(gzipSync(await tarOf(members))), { code: 'FLIST_LIMIT', message: /members/ })
  const router = await tarOf([{ name: 'router.yaml', bytes: Buffer.alloc(LIMITS.tagBytesMax + 1) }])
  await t.rejects(unpack(router), { code: 'FLIST_LIMIT', message: /router/ })
})

void t.test('unpackV1() stops when asked, and writes over nothing', async (t) => {
  const archive = gzipSync(await tarOf([{ name: 'flistdb.sqlite3', bytes: DATABASE }]))
  await t.rejects(unpack(archive, AbortSignal.abort()), { code: 'FLIST_INTERRUPTED' })
  const path = `${dir}/kept`
  writeFileSync(`${path}.flist`, archive)
  writeFileSync(`${path}.tmp`, 'mine')
  await t.rejects(unpackV1(`${path}.flist`, `${path}.tmp`, NEVER), { code: 'FLIST_SYSTEM' })
  t.equal(readFileSync(`${path}.tmp`, 'utf8'), 'mine')
  await t.rejects(unpackV1(`${dir}/absent`, `${path}.2`, NEVER), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(unpackV1(dir, `${path}.2`, NEVER), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(unpackV1(`${path}.flist`, `${dir}/none/x`, NEVER), { code: /FLIST_(SYSTEM|NOT_FOUND)/ })
})
