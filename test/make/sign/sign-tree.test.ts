import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type FlistIndex, signedStatement, writeArchive } from '../../../lib/flist/index.ts'
import { checkSignatures, fromSeed, parseSignatures, signTree, treeOf } from '../../../lib/make/index.ts'
import { only } from '../../only.ts'
import { compiled, NEVER } from '../../flist/helpers.ts'

// Archives are synced: slow disks are slow.
t.setTimeout(600_000)

const FIXTURES = join(import.meta.dirname, '../../../fixtures')
const KEY = fromSeed(Buffer.alloc(32, 7))

/** What must be as it was. */
function facts(index: FlistIndex): unknown {
  const { 'x-signature': _signature, ...tags } = index.tags
  return { statement: signedStatement(index), routes: index.routes, tags }
}

const V1 = ['hand', 'router', 'metadata', 'rawnames', 'nobackend'].map((name) => `golden/v1/${name}.flist`)
for (const name of ['sample/debian.fl', ...V1]) {
  void t.test(`signTree() of ${name} changes the signature alone`, async (t) => {
    const dir = t.testdir()
    copyFileSync(join(FIXTURES, name), join(dir, '0'))
    let before: unknown
    for (const round of [0, 1, 2]) {
      const index = await compiled(join(dir, `${round}`), join(dir, `${round}.idx`))
      const now = facts(index)
      // What another program wrote may say the same in other tags; from then on nothing changes.
      if (round === 2) t.strictSame(now, before)
      before = now
      const tree = treeOf(index)
      index.close()
      await signTree(tree, [KEY], { signal: NEVER, numericOwner: true })
      await writeArchive(tree, join(dir, `${round + 1}`), { signal: NEVER, numericOwner: true })
    }
    t.ok(readFileSync(join(dir, '3')).equals(readFileSync(join(dir, '2'))), 'signed again it is the same')
    const signed = await compiled(join(dir, '3'), join(dir, '3.idx'))
    const original = await compiled(join(FIXTURES, name), join(dir, 'original.idx'))
    t.strictSame(signed.routes, original.routes, 'each store is there once')
    t.equal(signedStatement(signed), signedStatement(original), 'the tree is that of its author')
    const found = parseSignatures(signed.tags['x-signature'] ?? '', 'x')
    t.match(only(checkSignatures(signedStatement(signed), found)), { key: KEY.key, valid: true })
    signed.close()
    original.close()
  })
}
