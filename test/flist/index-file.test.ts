import {
  chmodSync,
  closeSync,
  copyFileSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { crc32 } from 'node:zlib'
import t from 'tap'
import { openIndex } from '../../lib/flist/index.ts'
import { HEADER, SECTIONS, sectionEntryAt } from '../../lib/flist/layout.ts'
import { brokenPromise, codeOf, compiled, file, folder, hashOf, rowAt, writeArchive } from './helpers.ts'

async function sample(dir: string): Promise<{ path: string; digest: string; bytes: Buffer }> {
  writeArchive(`${dir}/x.fl`, (writer) => {
    const usr = writer.addInode(folder(1, 'usr'))
    const env = writer.addInode(file(usr, 'env', { size: 600_000 }))
    writer.addBlock(env, hashOf('a'), hashOf('b'))
    writer.addInode({ ...file(usr, 'link', { mode: 0o120777 }), target: Buffer.from('env') })
    writer.addRoute(0, 255, 'dir:///x')
  })
  const index = await compiled(`${dir}/x.fl`, `${dir}/x.idx`)
  const { digest } = index
  index.close()
  return { path: `${dir}/x.idx`, digest, bytes: readFileSync(`${dir}/x.idx`) }
}

/** A new file each time: a mapped one must not change under its readers. */
function put(path: string, bytes: Buffer): void {
  rmSync(path, { force: true })
  rmSync(`${path}.ok`, { force: true })
  writeFileSync(path, bytes)
}

void t.test('openIndex() refuses a header with any byte changed', async (t) => {
  const { path, digest, bytes } = await sample(t.testdir())
  const accepted: number[] = []
  for (let at = 0; at < HEADER.size; at += 1) {
    const damaged = Buffer.from(bytes)
    damaged[at] = (damaged[at] ?? 0) ^ 0x10
    put(path, damaged)
    if ((await codeOf(() => openIndex(path, digest))) !== 'FLIST_INDEX_DAMAGED') accepted.push(at)
  }
  t.same(accepted, [])
})

void t.test('openIndex() refuses a body with any byte changed, once the mark no longer fits', async (t) => {
  const { path, digest, bytes } = await sample(t.testdir())
  const accepted: number[] = []
  for (let at: number = HEADER.size; at < bytes.length; at += 1) {
    const damaged = Buffer.from(bytes)
    damaged[at] = (damaged[at] ?? 0) ^ 0x01
    put(path, damaged)
    if ((await codeOf(() => openIndex(path, digest))) !== 'FLIST_INDEX_DAMAGED') accepted.push(at)
  }
  t.same(accepted, [])
})

void t.test('openIndex() refuses an index cut short or grown', async (t) => {
  const { path, digest, bytes } = await sample(t.testdir())
  for (const length of [0, 1, HEADER.size - 1, HEADER.size, HEADER.size + 1, bytes.length - 64, bytes.length - 1]) {
    put(path, bytes.subarray(0, length))
    t.equal(await codeOf(() => openIndex(path, digest)), 'FLIST_INDEX_DAMAGED', `${length} bytes`)
  }
  put(path, Buffer.concat([bytes, Buffer.alloc(64)]))
  t.equal(await codeOf(() => openIndex(path, digest)), 'FLIST_INDEX_DAMAGED')
})

void t.test('openIndex() refuses section tables that lie, though their checksum is right', async (t) => {
  const { path, digest, bytes } = await sample(t.testdir())
  const lies: [string, (header: Buffer) => void][] = [
    ['layout', (header) => header.writeUInt32LE(2, HEADER.layout)],
    ['format', (header) => header.writeUInt32LE(3, HEADER.format)],
    ['hash', (header) => header.writeUInt32LE(20, HEADER.hashBytes)],
    ['no rows', (header) => header.writeUInt32LE(0, HEADER.rowCount)],
    ['more rows', (header) => header.writeUInt32LE(5, HEADER.rowCount)],
    ['most rows', (header) => header.writeUInt32LE(0xffff_ffff, HEADER.rowCount)],
    ['more inodes than rows', (header) => header.writeUInt32LE(9, HEADER.inodeCount)],
    ['blocks', (header) => header.writeUInt32LE(2, HEADER.blockCount)],
    ['content', (header) => header.writeBigUInt64LE(1n << 60n, HEADER.contentBytes)],
    ['file', (header) => header.writeBigUInt64LE(BigInt(bytes.length + 1), HEADER.fileBytes)],
  ]
  for (const [index, { name }] of SECTIONS.entries()) {
    const at = sectionEntryAt(index)
    lies.push([`${name} far away`, (header) => header.writeBigUInt64LE(1n << 62n, at)])
    lies.push([`${name} in the header`, (header) => header.writeBigUInt64LE(64n, at)])
    lies.push([`${name} odd`, (header) => header.writeBigUInt64LE(header.readBigUInt64LE(at) + 1n, at)])
    lies.push([`${name} too long`, (header) => header.writeBigUInt64LE(BigInt(bytes.length), at + 8)])
    lies.push([`${name} endless`, (header) => header.writeBigUInt64LE((1n << 64n) - 8n, at + 8)])
  }
  for (const [what, lie] of lies) {
    const damaged = Buffer.from(bytes)
    lie(damaged)
    damaged.writeUInt32LE(crc32(damaged.subarray(0, HEADER.headerCrc)), HEADER.headerCrc)
    put(path, damaged)
    t.equal(await codeOf(() => openIndex(path, digest)), 'FLIST_INDEX_DAMAGED', what)
  }
})

void t.test('openIndex() refuses another archive’s index, and says when there is none', async (t) => {
  const { path, digest } = await sample(t.testdir())
  t.equal(await codeOf(() => openIndex(path, '0'.repeat(64))), 'FLIST_INDEX_DAMAGED')
  t.equal(await codeOf(() => openIndex(`${path}.gone`, digest)), 'FLIST_NOT_FOUND')
  t.equal(await codeOf(() => openIndex(t.testdirName, digest)), 'FLIST_INDEX_DAMAGED')
})

void t.test('openIndex() makes the mark anew, and believes it until the file changes', async (t) => {
  const { path, digest, bytes } = await sample(t.testdir())
  const mark = readFileSync(`${path}.ok`, 'latin1')
  rmSync(`${path}.ok`)
  openIndex(path, digest).close()
  t.equal(readFileSync(`${path}.ok`, 'latin1'), mark)
  writeFileSync(`${path}.ok`, 'another boot')
  openIndex(path, digest).close()
  t.equal(readFileSync(`${path}.ok`, 'latin1'), mark)
  // Changed in place, and the time set back: the change time tells.
  const { atime, mtime } = statSync(path)
  const damaged = Buffer.from(bytes)
  damaged[bytes.length - 1] = (damaged[bytes.length - 1] ?? 0) ^ 1
  writeFileSync(path, damaged)
  utimesSync(path, atime, mtime)
  t.equal(await codeOf(() => openIndex(path, digest)), 'FLIST_INDEX_DAMAGED')
})

void t.test('openIndex() needs no mark where none can be written', async (t) => {
  const { path, digest } = await sample(t.testdir())
  rmSync(`${path}.ok`)
  chmodSync(t.testdirName, 0o500)
  try {
    openIndex(path, digest).close()
    t.pass('opened')
  } finally {
    chmodSync(t.testdirName, 0o700)
  }
})

void t.test('FlistIndex.close() may be called twice', async (t) => {
  const { path, digest } = await sample(t.testdir())
  const index = openIndex(path, digest)
  t.equal(index.mappedBytes, statSync(path).size)
  index.close()
  index.close()
  t.end()
})

void t.test('compileArchive() gives the same bytes for the same archive', async (t) => {
  const { path, bytes } = await sample(t.testdir())
  copyFileSync(`${t.testdirName}/x.fl`, `${t.testdirName}/y.fl`)
  const index = await compiled(`${t.testdirName}/y.fl`, `${path}2`)
  index.close()
  t.ok(readFileSync(`${path}2`).equals(bytes))
})

void t.test('FlistIndex serves a folder of 100,000 entries', async (t) => {
  const dir = t.testdir()
  const count = 100_000
  writeArchive(`${dir}/x.fl`, (writer) => {
    const big = writer.addInode(folder(1, 'big'))
    for (let at = 0; at < count; at += 1) writer.addInode(file(big, `name ${(at * 7919) % count}`))
  })
  const index = await compiled(`${dir}/x.fl`, `${dir}/x.idx`)
  t.teardown(() => index.close())
  t.equal(index.count[1], count)
  t.equal(brokenPromise(index), undefined)
  t.ok(rowAt(index, 'big/name 77777') > 0)
  t.equal(rowAt(index, 'big/name 100000'), -1)
})

void t.test('compileArchive() does not put an index where it cannot write', async (t) => {
  const dir = t.testdir({ folder: {} })
  writeArchive(`${dir}/x.fl`, () => {})
  t.equal(await codeOf(() => compiled(`${dir}/x.fl`, `${dir}/folder`)), 'FLIST_CACHE_UNUSABLE')
  const fd = openSync(`${dir}/x.fl`, 'r+')
  ftruncateSync(fd, 5000)
  closeSync(fd)
  t.equal(await codeOf(() => compiled(`${dir}/x.fl`, `${dir}/x.idx`)), 'FLIST_ARCHIVE_DAMAGED')
})
