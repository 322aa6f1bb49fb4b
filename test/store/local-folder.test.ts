import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalFolder } from '../../lib/store/local-folder.ts'

/** Reads until a file is given, or for a second. */
async function eventually(folder: LocalFolder, sub: string, name: string): Promise<Buffer | undefined> {
  for (let tries = 0; tries < 100; tries += 1) {
    folder.note(sub, statSync(import.meta.dirname).dev)
    const bytes = folder.read(sub, name)
    if (bytes !== undefined) return bytes
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return undefined
}

async function localRoot(t: Test): Promise<string | undefined> {
  const root = t.testdir({ aa: { small: 'stored', empty: '' }, bb: { other: 'stored' } })
  if ((await eventually(new LocalFolder(root), 'aa', 'small')) !== undefined) return root
  t.pass('SKIPPED: the tests are not on a file system that counts as local')
  return undefined
}

void t.test('reads small files of a local disk, once their folder was seen', async (t) => {
  const root = await localRoot(t)
  if (root === undefined) return
  const folder = new LocalFolder(root)
  t.equal(folder.read('aa', 'small'), undefined, 'nothing is known yet')
  t.equal((await eventually(folder, 'aa', 'small'))?.toString(), 'stored')
  t.equal(folder.read('bb', 'other'), undefined, 'a folder that was not seen')
})

void t.test('leaves everything else to another way', async (t) => {
  const root = await localRoot(t)
  if (root === undefined) return
  const folder = new LocalFolder(root)
  writeFileSync(join(root, 'aa/large'), Buffer.alloc(64 * 1024 + 1))
  symlinkSync('small', join(root, 'aa/link'))
  mkdirSync(join(root, 'aa/folder'))
  await eventually(folder, 'aa', 'small')
  for (const name of ['large', 'link', 'folder', 'empty', 'none']) t.equal(folder.read('aa', name), undefined, name)
})

void t.test('a folder on another file system is not read', async (t) => {
  const folder = new LocalFolder('/proc')
  for (let tries = 0; tries < 5; tries += 1) {
    folder.note('self', statSync('/proc').dev)
    await new Promise((resolve) => setTimeout(resolve, 10))
    t.equal(folder.read('self', 'stat'), undefined)
  }
})
