import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { makeNasty } from '../make/nasty.ts'
import { type Lab, lacks, mountTest } from './mounted.ts'
import type { Test } from 'tap'

/** The whole campaign: `npm run test:round-trips`, with 1,000 links, 100,000 entries of a folder, and all of the golden set. */
const ALL = process.env['FLISTFS_ROUND_TRIPS'] === 'all'
const golden = goldenDir() ?? ''
/** With what a tree of each is made from: itself, and its folder of blocks. */
const GOLDEN: readonly (readonly [archive: string, store: string])[] = [
  ['v1/rawnames.flist', 'v1/blocks'],
  ['fl/hand.fl', 'fl/store'],
  ['fl/debian.fl', 'fl/store'],
  ['v1/hand.flist', 'v1/blocks'],
  ['v1/bigdir.flist', 'v1/blocks'],
  ['v1/debian.flist', 'v1/blocks'],
]

/** What rsync compares of a tree that came back from each format: all of it, but for what docs/format.md says that v1 has no place for. */
const COMPARED = {
  fl: ['-naciHAX', '--modify-window=-1'],
  v1: ['-naci'],
} as const

/** Packs a tree, and has it back from a mount, from a folder and from an image. */
async function goesRound(
  t: Test,
  lab: Lab,
  tree: string,
  format: 'fl' | 'v1',
  notInLayers: readonly string[],
): Promise<void> {
  const archive = lab.path(format === 'fl' ? 'a.fl' : 'a.flist')
  const store = `dir://${lab.folder(`blocks-${format}`)}`
  const packed = await lab.flistfs(['pack', tree, archive, '--store', store, '--format', format])
  t.equal(packed.code, 0, packed.stderr)
  const differs = async (other: string): Promise<string> => {
    const words = [...COMPARED[format], '--numeric-ids', '--delete', `${tree}/`, `${other}/`]
    const { code, stdout, stderr } = await lab.run('rsync', words)
    return code === 0 ? stdout.toString('latin1') : `rsync ended with ${code}: ${stderr}`
  }
  const mounted = await lab.mount(archive)
  t.equal(await differs(mounted.directory), '', 'mounted it is the same')
  await lab.umount(mounted)
  const out = join(tree, '../out')
  const unpacked = await lab.flistfs(['unpack', archive, out])
  t.equal(unpacked.code, 0, unpacked.stderr)
  t.equal(await differs(out), '', 'unpacked it is the same')
  const image = `oci:${lab.path(`layout-${format}`)}:it`
  const exported = await lab.flistfs(['export', archive, image, '--json'])
  t.equal(exported.code, notInLayers.length > 0 ? 3 : 0, exported.stderr)
  const { leftOut } = JSON.parse(exported.stdout.toString()) as { leftOut: { path: string }[] }
  t.strictSame(
    leftOut.map(({ path }) => path),
    notInLayers,
    'what an image cannot have is named',
  )
  const back = lab.path(`back-${format}`)
  const converted = await lab.flistfs([
    'convert',
    image,
    back,
    '--store',
    store,
    '--format',
    format,
    '--no-startup',
    '--json',
  ])
  t.equal(converted.code, 0, converted.stderr)
  t.match(JSON.parse(converted.stdout.toString()), { newBlocks: 0 })
  const { stdout } = await lab.flistfs(['diff', archive, back])
  t.equal(stdout.toString('latin1'), notInLayers.map((path) => `D ${path}\n`).join(''), 'exported it is the same')
}

const skip = lacks('rsync', 'mount')

for (const format of ['fl', 'v1'] as const) {
  mountTest(`a nasty tree goes round in ${format}`, { skip }, async (t, lab) => {
    const place = lab.folder('place')
    // Where attributes may have 64 KiB, and tests of other machines find the same.
    await lab.ok('mount', ['-t', 'tmpfs', '-o', 'size=1g', 'none', place])
    const tree = join(place, 'tree')
    const xattrs = makeNasty(tree, ALL ? { links: 1000, entries: 100_000 } : { links: 100, entries: 1500 })
    if ((xattrs.get('large attribute')?.get('user.large')?.length ?? 0) < 65_536)
      t.comment('no attribute of 64 KiB here')
    await goesRound(t, lab, tree, format, ['names/.wh.not a whiteout'])
  })
  for (const [archive, store] of ALL ? GOLDEN : GOLDEN.slice(0, 1)) {
    mountTest(`${archive} goes round in ${format}`, { skip: skip || NO_GOLDEN }, async (t, lab) => {
      const tree = lab.path('tree')
      const words = ['unpack', join(golden, archive), tree, '--store', `dir://${join(golden, store)}`]
      const made = await lab.flistfs(words)
      t.ok(made.code === 0 || made.code === 3, made.stderr)
      t.ok(readdirSync(tree).length > 0)
      // Images have no sockets.
      const sockets = await lab.ok('find', [tree, '-type', 's', '-printf', '%P\n'])
      await goesRound(t, lab, tree, format, sockets.split('\n').filter(Boolean).toSorted())
    })
  }
}
