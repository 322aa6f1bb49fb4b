import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { FLISTFS, type Lab, mountTest, PROJECT } from './mounted.ts'

const ARCHIVE = join(PROJECT, 'fixtures/sample/debian.fl')
const BLOCKS = 176

/** SHA-256 of every file below, read by another process. */
async function hashes(lab: Lab, directory: string): Promise<string> {
  const script = 'cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum'
  return createHash('sha256')
    .update(await lab.ok('sh', ['-c', script, 'sh', directory]))
    .digest('hex')
}

async function cache(lab: Lab, t: Test, words: readonly string[], code = 0): Promise<Record<string, unknown>> {
  const done = await lab.flistfs(['cache', ...words, '--json'])
  t.equal(done.code, code, `cache ${words.join(' ')}: ${done.stderr}`)
  return code === 0 || done.stdout.length > 0 ? (JSON.parse(done.stdout.toString()) as Record<string, unknown>) : {}
}

function segments(dir: string): string[] {
  const root = join(dir, 'v1/segments')
  return readdirSync(root).flatMap((folder) => readdirSync(join(root, folder)).map((name) => join(root, folder, name)))
}

/** What the tree holds, by a mount with a cache of its own. */
async function truth(lab: Lab): Promise<string> {
  const mounted = await lab.mount(ARCHIVE, { cache: lab.folder('true-cache') })
  const said = await hashes(lab, mounted.directory)
  await lab.umount(mounted)
  return said
}

mountTest('cache pin --fetch, list, prune and unpin', {}, async (t, lab) => {
  t.match(await cache(lab, t, ['list']), { bytes: 0, archives: { length: 0 }, pins: { length: 0 } })
  const pinned = await cache(lab, t, ['pin', ARCHIVE, '--fetch'])
  t.match(pinned, { blocks: BLOCKS, fetched: { blocks: BLOCKS, failed: 0, notKept: 0 } })
  const digest = String(pinned['digest'])
  t.match(await cache(lab, t, ['list']), {
    archives: [{ digest, blocks: BLOCKS, blocksHere: BLOCKS, pinned: true, mounts: { length: 0 } }],
    pins: [{ name: digest, blocks: BLOCKS }],
  })
  const text = await lab.flistfs(['cache', 'list'])
  t.match(text.stdout.toString(), /100 % +176\/176 .*pinned/)
  t.match(await cache(lab, t, ['prune', '--all']), { segments: 0, keptSegments: 1, indexes: 0 })

  const mounted = await lab.mount(ARCHIVE, { words: ['--store', `dir://${lab.folder('empty')}`] })
  const all = await hashes(lab, mounted.directory)
  t.match((await lab.stats(mounted)).reads, { errors: 0 }, 'all of it comes from the cache')
  t.match(await cache(lab, t, ['unpin', 'sha256:' + digest]), { changed: true })
  t.match(await cache(lab, t, ['unpin', digest]), { changed: false })
  t.match(await cache(lab, t, ['list']), {
    archives: [{ pinned: false, mounts: [mounted.directory] }],
    pins: { length: 0 },
  })
  t.match(await cache(lab, t, ['prune', '--to', '0']), { segments: 0, keptSegments: 1 }, 'what is mounted stays')
  t.match(await cache(lab, t, ['prune', '--all']), { segments: 0, keptSegments: 1, indexes: 0, records: 0 })
  t.equal(await hashes(lab, mounted.directory), all)
  await lab.umount(mounted)
  const would = await cache(lab, t, ['prune', '--all', '--dry-run'])
  t.match(would, { segments: 1, indexes: 1, dryRun: true })
  t.match(await cache(lab, t, ['prune', '--older', '1h']), { segments: 0, indexes: 0 })
  t.match(await cache(lab, t, ['prune', '--all']), { ...would, dryRun: false })
  t.match(await cache(lab, t, ['list']), { bytes: 0, blocks: 0, archives: { length: 0 } })
  t.strictSame(segments(lab.cache), [])
})

mountTest('a pin from a store that has nothing, and words that are wrong', {}, async (t, lab) => {
  const empty = `dir://${lab.folder('empty')}`
  const done = await lab.flistfs(['cache', 'pin', ARCHIVE, '--fetch', '--store', empty, '--json'])
  t.equal(done.code, 12)
  t.match(done.stderr, 'FLIST_BLOCK_MISSING')
  for (const [words, code, said] of [
    [['cache', 'unpin', 'nobody/knows.flist'], 10, 'cache list'],
    [['cache', 'pin', 'a'.repeat(64)], 10, 'Cannot find'],
    [['cache', 'prune', '--all', '--to', '1G'], 2, '--all'],
    [['cache', 'prune', '--to', 'much'], 2, 'much'],
    [['cache', 'prune', '--older', 'long'], 2, 'long'],
    [['cache', 'explode'], 2, 'explode'],
    [['cache'], 2, 'missing'],
    [['cache', 'pin', ARCHIVE, '--store', 'nowhere'], 2, 'nowhere'],
  ] as const) {
    const wrong = await lab.flistfs(words)
    t.equal(wrong.code, code, `${words.join(' ')}: ${wrong.stderr}`)
    t.match(wrong.stderr, said)
  }
})

mountTest('cache verify --repair heals a cache under a live mount', {}, async (t, lab) => {
  const right = await truth(lab)
  await cache(lab, t, ['pin', ARCHIVE, '--fetch'])
  const mounted = await lab.mount(ARCHIVE)
  t.match(await cache(lab, t, ['verify']), { blocks: BLOCKS, damaged: 0, archives: { length: 0 } })
  for (const path of segments(lab.cache)) {
    const bytes = readFileSync(path)
    for (let at = 1000; at < bytes.length; at += 1_000_000) bytes[at] = (bytes[at] ?? 0) ^ 0xff
    writeFileSync(path, bytes)
  }
  const seen = await cache(lab, t, ['verify'], 12)
  t.ok(Number(seen['damaged']) >= 3, `${String(seen['damaged'])} damaged`)
  t.match(seen, { blocks: BLOCKS, repaired: false })
  const repaired = await cache(lab, t, ['verify', '--repair'])
  t.match(repaired, { damaged: seen['damaged'], repaired: true })
  t.match(await cache(lab, t, ['verify']), { damaged: 0, blocks: BLOCKS - Number(seen['damaged']) })
  t.equal(await hashes(lab, mounted.directory), right)
  t.match(await cache(lab, t, ['verify']), { damaged: 0, blocks: BLOCKS }, 'fetched again')
  await lab.umount(mounted)
})

mountTest('a cache folder removed, and a database damaged, under a live mount', {}, async (t, lab) => {
  const right = await truth(lab)
  const mounted = await lab.mount(ARCHIVE)
  t.equal(await hashes(lab, mounted.directory), right)
  rmSync(join(lab.cache, 'v1'), { recursive: true })
  writeFileSync('/proc/sys/vm/drop_caches', '1')
  t.equal(await hashes(lab, mounted.directory), right)
  await lab.umount(mounted)
  const again = await lab.mount(ARCHIVE)
  t.equal(await hashes(lab, again.directory), right)
  const path = join(lab.cache, 'v1/cache.db')
  for (const file of [path, `${path}-wal`]) writeFileSync(file, readFileSync(file).fill(0x5a))
  t.equal((await lab.flistfs(['cache', 'list'])).code, 1)
  t.match(await cache(lab, t, ['verify', '--repair']), { repaired: true })
  t.match(await cache(lab, t, ['list']), { blocks: 0 })
  writeFileSync('/proc/sys/vm/drop_caches', '1')
  t.equal(await hashes(lab, again.directory), right)
  await lab.umount(again)
})

mountTest('an image with a filled cache is mounted from a read-only disk', {}, async (t, lab) => {
  const right = await truth(lab)
  await cache(lab, t, ['pin', ARCHIVE, '--fetch'])
  const view = lab.folder('image')
  await lab.ok('mount', ['--bind', lab.cache, view])
  await lab.ok('mount', ['-o', 'remount,ro,bind', view])
  const words = ['--store', `dir://${lab.folder('empty')}`]
  const mounted = await lab.mount(ARCHIVE, { cache: view, words })
  t.equal(await hashes(lab, mounted.directory), right, 'without any store')
  t.match(await lab.stats(mounted), { reads: { errors: 0 } })
  await lab.umount(mounted)
  t.match(await cache(lab, t, ['verify', '--cache', view]), { blocks: BLOCKS, damaged: 0 })
  t.match(await cache(lab, t, ['list', '--cache', view]), { blocks: BLOCKS })
  const refused = await lab.flistfs(['cache', 'prune', '--all', '--cache', view])
  t.equal(refused.code, 1)
  t.match(refused.stderr, 'Cannot write the cache')
  await lab.ok('umount', [view])
  t.ok(existsSync(join(lab.cache, 'v1/cache.db')))
})

/** Leaves the disk of a cache not a page. */
async function fill(lab: Lab, t: Test, disk: string): Promise<void> {
  const used = (await lab.ok('df', ['--output=used', '--block-size=1K', disk])).trim().split('\n')[1]
  await lab.ok('mount', ['-o', `remount,size=${used?.trim()}k`, disk])
  t.equal(statfsSync(disk).bavail, 0)
}

mountTest('cache pin and unpin on a disk without room for a word', {}, async (t, lab) => {
  const disk = lab.folder('disk')
  await lab.ok('mount', ['-t', 'tmpfs', '-o', 'size=400m', 'none', disk])
  const cacheDir = ['--cache', join(disk, 'cache')]
  const other = lab.path('other.fl')
  writeFileSync(join(lab.folder('tree'), 'file'), 'other')
  await lab.ok('sh', [FLISTFS, 'pack', lab.path('tree'), other, '--store', `dir://${lab.folder('blocks')}`])
  for (const archive of [ARCHIVE, other]) await cache(lab, t, ['pin', archive, '--fetch', ...cacheDir])
  await cache(lab, t, ['unpin', other, ...cacheDir])

  await fill(lab, t, disk)
  const before = await cache(lab, t, ['list', ...cacheDir])
  const refused = await lab.flistfs(['cache', 'pin', other, ...cacheDir])
  t.equal(refused.code, 1)
  t.match(refused.stderr, /its disk is full\n.*hint: Make room on its disk, or unpin/)
  t.match(
    await cache(lab, t, ['list', ...cacheDir]),
    { blocks: before['blocks'], pins: before['pins'] },
    'nothing is lost',
  )

  t.match(await cache(lab, t, ['unpin', ARCHIVE, ...cacheDir]), { changed: true })
  t.match(await cache(lab, t, ['list', ...cacheDir]), { segments: 0, blocks: 0, pins: { length: 0 } })
  await lab.ok('mount', ['-o', 'remount,size=400m', disk])
  await cache(lab, t, ['pin', ARCHIVE, '--fetch', ...cacheDir])
  await cache(lab, t, ['unpin', ARCHIVE, ...cacheDir])
  await fill(lab, t, disk)
  t.match(await cache(lab, t, ['pin', other, ...cacheDir]), { blocks: 1 }, 'room is made of what nobody needs')
  t.match(await cache(lab, t, ['list', ...cacheDir]), { segments: 0, blocks: 0, pins: [{ blocks: 1 }] })
  await lab.ok('umount', [disk])
})
