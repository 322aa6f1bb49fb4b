import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BlockServer } from './block-server.ts'
import { type Lab, mountTest, PROJECT } from './mounted.ts'

const sample = join(PROJECT, 'fixtures/sample')
const ARCHIVE = `${sample}/debian.fl`
const BLOCKS = 176

interface Outcome {
  readonly blocks: number
  readonly checks: number
  readonly missing: number
  readonly damaged: number
  readonly repaired: number
  readonly faults: readonly { id: string; fault: string; path: string; repaired: boolean }[]
}

async function verify(
  lab: Lab,
  ...words: readonly string[]
): Promise<{ code: number; stderr: string; outcome: Outcome }> {
  const done = await lab.flistfs(['verify', ARCHIVE, '--json', ...words])
  const text = done.stdout.toString()
  return { code: done.code, stderr: done.stderr, outcome: (text === '' ? {} : JSON.parse(text)) as Outcome }
}

/** A copy of the sample's store, of which one block is gone and one is damaged. */
async function broken(lab: Lab, name: string): Promise<{ dir: string; gone: string; bad: string }> {
  const dir = lab.path(name)
  await lab.ok('cp', ['-a', `${sample}/store`, dir])
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const [first, second] = files.map((entry) => join(entry.parentPath, entry.name))
  rmSync(first ?? '')
  const bytes = readFileSync(second ?? '')
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  writeFileSync(second ?? '', bytes)
  return { dir, gone: files[0]?.name ?? '', bad: files[1]?.name ?? '' }
}

mountTest('a store is looked through, and mended from another', {}, async (t, lab) => {
  const { dir, gone, bad } = await broken(lab, 'store')
  const store = ['--store', `dir://${dir}`]
  const shallow = await verify(lab, '--blocks', ...store)
  t.equal(shallow.code, 12, shallow.stderr)
  t.match(shallow.outcome, {
    blocks: BLOCKS,
    checks: BLOCKS,
    missing: 1,
    damaged: 0,
    faults: [{ id: gone, fault: 'missing' }],
  })
  const deep = await verify(lab, '--deep', ...store)
  t.equal(deep.code, 12)
  t.match(deep.outcome, { missing: 1, damaged: 1 })
  t.strictSame(deep.outcome.faults.map(({ id }) => id).toSorted(), [gone, bad].toSorted())
  const vain = await verify(lab, '--deep', '--repair', ...store)
  t.match([vain.code, vain.outcome.repaired], [12, 0], 'nobody else has them')
  const mended = await verify(lab, '--deep', '--repair', '--from', `dir://${sample}/store`, ...store)
  t.match([mended.code, mended.outcome.repaired], [0, 2], mended.stderr)
  t.match((await verify(lab, '--deep', ...store)).outcome, { missing: 0, damaged: 0 })
})

mountTest('a store is mended from the folder the archive was made of', {}, async (t, lab) => {
  const { dir } = await broken(lab, 'store')
  const folder = lab.path('folder')
  await lab.flistfs(['unpack', ARCHIVE, folder])
  const mended = await verify(lab, '--deep', '--repair', '--from', folder, '--store', `dir://${dir}`)
  t.match([mended.code, mended.outcome.repaired], [0, 2], mended.stderr)
  await lab.ok('diff', ['-r', `${sample}/store`, dir])
})

mountTest('each of several stores is asked, and those that are away have lost nothing', {}, async (t, lab) => {
  const { dir } = await broken(lab, 'store')
  const server = await BlockServer.open(t, `${sample}/store`)
  const both = await verify(lab, '--deep', '--repair', '--store', `dir://${dir}`, '--store', server.url)
  t.match([both.code, both.outcome.checks, both.outcome.repaired], [0, 2 * BLOCKS, 2], both.stderr)
  server.behaviour = 'dead'
  const away = await verify(lab, '--blocks', '--store', `dir://${dir}`, '--store', server.url)
  t.equal(away.code, 11)
  t.match(away.stderr, 'FLIST_STORE_UNREACHABLE')
})

mountTest('an archive that was changed on the disk is not sound, whatever index there is', {}, async (t, lab) => {
  const copy = lab.path('copy.fl')
  await lab.ok('cp', [ARCHIVE, copy])
  t.equal((await lab.flistfs(['verify', copy])).code, 0)
  const bytes = readFileSync(copy)
  bytes.fill(0xff, 20_000, 40_000)
  writeFileSync(copy, bytes)
  const done = await lab.flistfs(['verify', copy, '--json'])
  t.equal(done.code, 12, done.stderr)
  t.match(done.stderr, 'FLIST_ARCHIVE_DAMAGED')
})
