import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Lab, type Mounted, mountTest } from './mounted.ts'
import { packTree } from './pack-tree.ts'

/** Larger than `LIMITS.ownSegmentBytesMin`, with an equal block twice and a short last one. */
function bigFile(): Buffer {
  const block = randomBytes(512 * 1024)
  return Buffer.concat([block, randomBytes(70 * 1024 * 1024), block, Buffer.from('the end')])
}

async function reads(lab: Lab, mounted: Mounted): Promise<number> {
  const done = await lab.flistfs(['stats', mounted.directory, '--json'])
  const stats = JSON.parse(done.stdout.toString('utf8')) as { requests: Record<string, { count: number }> }
  return stats.requests['READ']?.count ?? 0
}

mountTest('--passthrough lets the kernel read a large cached file itself', {}, async (t, lab) => {
  const tree = lab.folder('tree')
  const content = bigFile()
  writeFileSync(join(tree, 'big'), content)
  writeFileSync(join(tree, 'small'), 'small')
  mkdirSync(join(tree, 'empty'))
  await packTree(tree, lab.path('big.fl'), lab.folder('store'), new Map())
  const sha256 = createHash('sha256').update(content).digest('hex')
  const sum = async (mounted: Mounted): Promise<string> =>
    (await lab.ok('sha256sum', [join(mounted.directory, 'big')])).slice(0, 64)

  const first = await lab.mount('big.fl', { words: ['--passthrough'] })
  t.equal(await sum(first), sha256, 'fetched')
  t.not(await reads(lab, first), 0, 'the first reader goes through us')
  await lab.ok('umount', [first.directory])

  const second = await lab.mount('big.fl', { words: ['--passthrough'] })
  // The fetch thread says what lies whole in the cache a moment after the mount; an open before that reads through us.
  for (let tries = 0; tries < 50; tries += 1) {
    const before = await reads(lab, second)
    await lab.ok('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
    t.equal(await sum(second), sha256, 'the same bytes')
    if ((await reads(lab, second)) === before) break
    await sleep(100)
  }
  const before = await reads(lab, second)
  await lab.ok('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
  t.equal(await sum(second), sha256, 'the same bytes')
  t.equal(await reads(lab, second), before, 'no READ: the kernel read the segment')
  t.equal(await lab.ok('cat', [join(second.directory, 'small')]), 'small', 'other files go through us')
})
