// Alone: it counts what the kernel asks, and others make the kernel forget.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FlWriter } from '../../lib/flist/index.ts'
import { encodeBlock, prepareCodec } from '../../lib/store/index.ts'
import { type Lab, type Mounted, mountTest, PROJECT } from './mounted.ts'
import { putBlock } from './pack-tree.ts'

/** The tree that the table in docs/benchmarks.md is about. */
const FOLDERS = 200
const FILES_PER_FOLDER = 100

/** `docs/benchmarks.md`, "Requests": by work, the most of each opcode. What a row does not name is 0. */
function tableOf(work: string): Record<string, number> {
  const text = readFileSync(join(PROJECT, 'docs/benchmarks.md'), 'utf8')
  // Rows of the table of times have the same names.
  const line = text
    .slice(text.indexOf('## Requests'))
    .split('\n')
    .find((row) => row.split('|')[1]?.trim() === work)
  if (line === undefined) throw new Error(`docs/benchmarks.md has no row "${work}"`)
  const pairs = [...line.matchAll(/([A-Z]+) ([\d,]+)/g)]
  return Object.fromEntries(pairs.map(([, name = '', count = '']) => [name, Number(count.replaceAll(',', ''))]))
}

async function makeArchive(lab: Lab): Promise<string> {
  await prepareCodec()
  const archive = lab.path('tree.fl')
  const writer = new FlWriter(archive)
  const facts = { uid: 0, gid: 0, rdev: 0, ctime: 0, mtime: 0 }
  const root = writer.addInode({ ...facts, parent: 0, name: Buffer.from(''), size: 0, mode: 0o040755 })
  for (let folder = 0; folder < FOLDERS; folder += 1) {
    const parent = writer.addInode({
      ...facts,
      parent: root,
      name: Buffer.from(`folder-${folder}`),
      size: 0,
      mode: 0o040755,
    })
    for (let file = 0; file < FILES_PER_FOLDER; file += 1) {
      const content = Buffer.from(`file ${file} of folder ${folder % 2}`.padEnd(4096, '.'))
      const ino = writer.addInode({
        ...facts,
        parent,
        name: Buffer.from(`file-${file}`),
        size: content.length,
        mode: 0o100644,
      })
      const { id, key, stored } = encodeBlock('fl', content)
      putBlock(lab.folder('store'), id, stored)
      writer.addBlock(ino, id, key)
    }
  }
  writer.addRoute(0, 255, `dir://${lab.path('store')}`)
  writer.finish()
  return archive
}

/** The fewest of three: whatever else runs on the machine may make the kernel let go of a page or a name. */
async function fewest(lab: Lab, mounted: Mounted, work: () => Promise<unknown>): Promise<Record<string, number>> {
  let least: Record<string, number> | undefined
  const total = (counts: Record<string, number>): number => Object.values(counts).reduce((sum, count) => sum + count, 0)
  for (let tries = 0; tries < 3; tries += 1) {
    const counts = await requestsOf(lab, mounted, work)
    if (least === undefined || total(counts) < total(least)) least = counts
  }
  return least ?? {}
}

/** INIT is over; a FORGET has no reply, and comes when the kernel wants memory. */
const UNCOUNTED = new Set(['INIT', 'FORGET', 'BATCH_FORGET'])

/** The requests that `work` caused, by opcode. */
async function requestsOf(lab: Lab, mounted: Mounted, work: () => Promise<unknown>): Promise<Record<string, number>> {
  const counts = async (): Promise<Record<string, number>> =>
    Object.fromEntries(Object.entries((await lab.stats(mounted)).requests).map(([name, { count }]) => [name, count]))
  const before = await counts()
  await work()
  const after = await counts()
  const grown = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const)
  return Object.fromEntries(grown.filter(([name, count]) => count > 0 && !UNCOUNTED.has(name)))
}

mountTest('walking and reading send no more requests than docs/benchmarks.md says', {}, async (t, lab) => {
  const within = (work: string, sent: Record<string, number>): void => {
    const allowed = tableOf(work)
    t.comment(`${work}: ${JSON.stringify(sent)}`)
    const over = Object.entries(sent).filter(([name, count]) => count > (allowed[name] ?? 0))
    t.strictSame(over, [], `${work}: ${JSON.stringify(sent)}`)
  }
  const dropCaches = (): Promise<string> => lab.ok('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
  const mounted = await lab.mount(await makeArchive(lab))
  const { directory } = mounted
  const walk = async (): Promise<void> => {
    const lines = (await lab.ok('find', [directory, '-printf', '%s %m\n'])).split('\n').length - 1
    t.equal(lines, 1 + FOLDERS + FOLDERS * FILES_PER_FOLDER)
  }
  const folder = join(directory, 'folder-7')
  const readAll = (): Promise<string> => lab.ok('sh', ['-c', 'cat "$1"/file-* | cksum', 'sh', folder])

  within('walk, first', await requestsOf(lab, mounted, walk))
  within('walk, again', await fewest(lab, mounted, walk))
  within('100 small files, first', await requestsOf(lab, mounted, readAll))
  await dropCaches()
  within('walk, kernel caches dropped', await requestsOf(lab, mounted, walk))
  within('100 small files, cached', await requestsOf(lab, mounted, readAll))
  within('100 small files, again', await fewest(lab, mounted, readAll))
  const missing = (): Promise<unknown> =>
    lab.run(
      'stat',
      Array.from({ length: 50 }, () => join(folder, 'absent')),
    )
  within('50 times a name that is not there', await requestsOf(lab, mounted, missing))
  await dropCaches()
  const list = (): Promise<unknown> => lab.ok('ls', ['-l', folder])
  within('ls -l of 100 files', await requestsOf(lab, mounted, list))
})
