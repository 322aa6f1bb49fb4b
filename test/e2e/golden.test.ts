import { join } from 'node:path'
import { createHash } from 'node:crypto'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { compareTree, type Facts, linesOf, readManifest, TYPE, walk } from './expected.ts'
import { mountTest, PROJECT } from './mounted.ts'

/** The whole set, where it is; and the part of it that every checkout has. */
const golden = goldenDir() ?? ''
const small = join(PROJECT, 'fixtures/golden')
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const hex = (text: string): string => Buffer.from(text).toString('hex')

/** What a v1 archive does not keep of the tree it was made from, as the golden set's README names it. */
function asV1(tree: Map<string, Facts>): Map<string, Facts> {
  for (const facts of tree.values()) {
    // Every special file is written as a socket; one with a device number is shown as a character device (decision 011).
    if (facts.type === TYPE.block) facts.type = TYPE.char
    if (facts.type === TYPE.fifo) facts.type = TYPE.socket
  }
  const root = tree.get('')
  if (root !== undefined) Object.assign(root, { mode: 0o755, uid: 0, gid: 0, mtimeNs: '0', ctimeNs: '0' })
  return tree
}

for (const name of ['hand', 'debian']) {
  mountTest(`fl archive ${name} is as its manifest`, { skip: NO_GOLDEN }, async (t, lab) => {
    const mounted = await lab.mount(`${golden}/fl/${name}.fl`, { words: ['--store', `dir://${golden}/fl/store`] })
    await compareTree(t, lab, mounted, readManifest(`${golden}/fl/${name}.manifest.json`))
    t.strictSame(linesOf(mounted, 'error'), [], 'nothing to complain of')
  })
}

mountTest('fl archive sharded is as its manifest, from two stores', { skip: NO_GOLDEN }, async (t, lab) => {
  const words = [`00-7f=dir://${golden}/fl/store-A`, `80-ff=dir://${golden}/fl/store-B`]
  const mounted = await lab.mount(`${golden}/fl/sharded.fl`, { words: words.flatMap((word) => ['--store', word]) })
  await compareTree(t, lab, mounted, readManifest(`${golden}/fl/sharded.manifest.json`))
  const { stores: asked } = await lab.stats(mounted)
  t.strictSame(
    asked.map(({ requests, failures }) => [requests, failures]),
    [
      [11, 0],
      [15, 0],
    ],
    'each store was asked for its own blocks only, once each',
  )
})

mountTest(
  'fl archive missing gives EIO on the three files whose blocks are bad, and says why',
  { skip: NO_GOLDEN },
  async (t, lab) => {
    const mounted = await lab.mount(`${golden}/fl/missing.fl`, {
      words: ['--store', `dir://${golden}/fl/missing-store`],
    })
    const tree = readManifest(`${golden}/fl/sharded.manifest.json`)
    const entries = await walk(lab, mounted.directory)
    const bad = entries.filter(({ error }) => error !== undefined).map(({ path, error, bytes }) => [path, error, bytes])
    t.strictSame(bad, [
      [hex('random-1048576'), 'EIO', 524_288],
      [hex('random-4097'), 'EIO', 0],
      [hex('random-524287'), 'EIO', 0],
    ])
    for (const entry of entries) {
      if (entry.error === undefined)
        t.equal(entry.sha256, tree.get(entry.path)?.sha256, Buffer.from(entry.path, 'hex').toString())
    }
    const again = await lab.run('cat', [`${mounted.directory}/random-4097`])
    t.match(again.stderr, 'Input/output error', 'and again, never another error')
    const errors = linesOf(mounted, 'error')
    for (const [path, code] of [
      ['random-1048576', 'FLIST_BLOCK_MISSING'],
      ['random-4097', 'FLIST_BLOCK_CORRUPT'],
      ['random-524287', 'FLIST_BLOCK_CORRUPT'],
    ] as const) {
      const line = errors.find((text) => text.includes(`"${path}"`)) ?? ''
      t.match(line, code, `${path}: its code`)
      t.match(line, /block "[0-9a-f]{64}": store "dir:.*missing-store"/, `${path}: its block`)
      t.match(line, / hint="/, `${path}: a remedy`)
    }
  },
)

mountTest('fl archive empty is an empty folder', {}, async (t, lab) => {
  const mounted = await lab.mount(`${small}/fl/empty.fl`)
  const entries = await walk(lab, mounted.directory)
  t.strictSame(
    entries.map(({ path, type, nlink }) => [path, type, nlink]),
    [['', TYPE.dir, 2]],
  )
})

for (const name of ['debian', 'bigdir']) {
  mountTest(`v1 archive ${name} is as its manifest`, { skip: NO_GOLDEN }, async (t, lab) => {
    const mounted = await lab.mount(`${golden}/v1/${name}.flist`, { words: ['--store', `dir://${golden}/v1/blocks`] })
    await compareTree(t, lab, mounted, asV1(readManifest(`${golden}/v1/${name}.manifest.json`)))
    t.strictSame(linesOf(mounted, 'error'), [], 'nothing to complain of')
  })
}

for (const name of ['hand', 'rawnames']) {
  mountTest(`v1 archive ${name} is as its manifest`, {}, async (t, lab) => {
    const mounted = await lab.mount(`${small}/v1/${name}.flist`, { words: ['--store', `dir://${small}/v1/blocks`] })
    await compareTree(t, lab, mounted, asV1(readManifest(`${small}/v1/${name}.manifest.json`)))
    t.strictSame(linesOf(mounted, 'error'), [], 'nothing to complain of')
  })
}

mountTest('v1 archive floatbug gives EIO at the ends that its writer lost, and says so', {}, async (t, lab) => {
  const mounted = await lab.mount(`${small}/v1/floatbug.flist`, { words: ['--store', `dir://${small}/v1/blocks`] })
  const tree = readManifest(`${small}/v1/floatbug.manifest.json`)
  const lost = new Map([
    [hex('16MiB-plus-1'), 16 * 1024 * 1024],
    [hex('32MiB-plus-2'), 32 * 1024 * 1024],
  ])
  for (const entry of await walk(lab, mounted.directory)) {
    const name = Buffer.from(entry.path, 'hex').toString()
    const upTo = lost.get(entry.path)
    t.equal(entry.size, tree.get(entry.path)?.size, `${name}: its size`)
    if (upTo === undefined) t.equal(entry.sha256, tree.get(entry.path)?.sha256, `${name}: its bytes`)
    else t.strictSame([entry.error, entry.bytes], ['EIO', upTo], `${name}: all but its end`)
  }
  const errors = linesOf(mounted, 'error')
  for (const name of ['16MiB-plus-1', '32MiB-plus-2']) {
    const line = errors.find((text) => text.includes(`"${name}"`)) ?? ''
    t.match(line, /FLIST_FILE_TRUNCATED/)
    t.match(line, /archive is damaged.*rounding the size to a 24-bit float/)
  }
})

mountTest('v1 archive router reads its blocks where its router.yaml says', {}, async (t, lab) => {
  const entries = await walk(
    lab,
    (await lab.mount(`${small}/v1/router.flist`, { words: ['--store', `dir://${small}/v1/blocks`] })).directory,
  )
  t.strictSame(
    entries.map(({ path, type, mode, size, sha256: digest }) => [path, type, mode, size, digest]),
    [
      ['', TYPE.dir, 0o755, 4096, undefined],
      [hex('etc'), TYPE.dir, 0o755, 4096, undefined],
      [hex('etc/motd'), TYPE.file, 0o644, 6, sha256('hello\n')],
    ],
  )
})

mountTest('v1 archive metadata is mounted with its own backend out of reach', {}, async (t, lab) => {
  const mounted = await lab.mount(`${small}/v1/metadata.flist`, { words: ['--store', `dir://${small}/v1/blocks`] })
  t.equal(
    await lab.ok('find', [mounted.directory, '-mindepth', '1', '-printf', '%P %s %m\n']),
    'etc 4096 755\netc/motd 6 644\n',
  )
  t.equal(await lab.ok('cat', [`${mounted.directory}/etc/motd`]), 'hello\n')
})

mountTest('v1 archive nobackend gives EIO on its one file, whose block was never stored', {}, async (t, lab) => {
  const mounted = await lab.mount(`${small}/v1/nobackend.flist`, { words: ['--store', `dir://${small}/v1/blocks`] })
  const entries = await walk(lab, mounted.directory)
  t.strictSame(
    entries.map(({ path, size, error }) => [path, size, error]),
    [
      ['', 4096, undefined],
      [hex('orphan'), 26, 'EIO'],
    ],
  )
  const [line = ''] = linesOf(mounted, 'error')
  t.match(line, /"orphan".*37261d33047289713807e601ca4f1985.*FLIST_BLOCK_MISSING.*hint="/)
})

mountTest('v1 archive nobackend without a store says that no store covers the block', {}, async (t, lab) => {
  const mounted = await lab.mount(`${small}/v1/nobackend.flist`)
  const done = await lab.run('cat', [`${mounted.directory}/orphan`])
  t.match(done.stderr, 'Input/output error')
  t.match(linesOf(mounted, 'error')[0] ?? '', /"orphan".*FLIST_BLOCK_NOT_ROUTED.*hint=".*--store/)
})

mountTest('v1 archive empty is an empty folder', {}, async (t, lab) => {
  const mounted = await lab.mount(`${small}/v1/empty.flist`)
  const entries = await walk(lab, mounted.directory)
  t.strictSame(
    entries.map(({ path, type, mode, nlink }) => [path, type, mode, nlink]),
    [['', TYPE.dir, 0o755, 2]],
  )
})
