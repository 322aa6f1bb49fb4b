import { mkdirSync, statfsSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { LocalFolder } from '../../lib/store/local-folder.ts'

/** Reads until a file is given, or for a minute. */
async function eventually(folder: LocalFolder, sub: string, name: string): Promise<Buffer | undefined> {
  for (let tries = 0; tries < 6000; tries += 1) {
    folder.note(sub, statSync(import.meta.dirname).dev)
    const bytes = folder.read(sub, name)
    if (bytes !== undefined) return bytes
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return undefined
}

const TREE = { aa: { small: 'stored', empty: '' }, bb: { other: 'stored' } }
/** ext4, tmpfs, xfs, btrfs. */
const isLocal = [0xef53, 0x01021994, 0x58465342, 0x9123683e].includes(statfsSync(import.meta.dirname).type)
const skip = isLocal ? false : 'the tests are on a file system that may not count as local'

void t.test('reads small files of a local disk, once their folder was seen', { skip }, async (t) => {
  const root = t.testdir(TREE)
  const folder = new LocalFolder(root)
  t.equal(folder.read('aa', 'small'), undefined, 'nothing is known yet')
  t.equal((await eventually(folder, 'aa', 'small'))?.toString(), 'stored')
  t.equal(folder.read('bb', 'other'), undefined, 'a folder that was not seen')
})

void t.test('leaves everything else to another way', { skip }, async (t) => {
  const root = t.testdir(TREE)
  const folder = new LocalFolder(root)
  writeFileSync(join(root, 'aa/large'), Buffer.alloc(64 * 1024 + 1))
  symlinkSync('small', join(root, 'aa/link'))
  mkdirSync(join(root, 'aa/folder'))
  t.equal((await eventually(folder, 'aa', 'small'))?.toString(), 'stored')
  for (const name of ['large', 'link', 'folder', 'empty', 'none']) t.equal(folder.read('aa', name), undefined, name)
})

void t.test('holds() sees what is a block, once its folder was seen', { skip }, async (t) => {
  const root = t.testdir(TREE)
  const folder = new LocalFolder(root)
  t.equal(folder.holds('aa', 'small'), false, 'nothing is known yet')
  symlinkSync('small', join(root, 'aa/link'))
  mkdirSync(join(root, 'aa/folder'))
  t.equal((await eventually(folder, 'aa', 'small'))?.toString(), 'stored')
  // A slow disk makes it look away for a moment.
  for (let tries = 0; tries < 6000 && !folder.holds('aa', 'small'); tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  for (const name of ['link', 'folder', 'empty', 'none']) t.equal(folder.holds('aa', name), false, name)
  t.equal(folder.holds('bb', 'other'), false, 'a folder that was not seen')
})

void t.test('a folder on another file system is not read', async (t) => {
  const folder = new LocalFolder('/proc')
  for (let tries = 0; tries < 5; tries += 1) {
    folder.note('self', statSync('/proc').dev)
    await new Promise((resolve) => setTimeout(resolve, 10))
    t.equal(folder.read('self', 'stat'), undefined)
  }
})
