import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mountTest } from './mounted.ts'
import { packTree } from './pack-tree.ts'

mountTest('--verify always finds a block that was damaged in the cache', {}, async (t, lab) => {
  const tree = lab.folder('tree')
  const content = randomBytes(600 * 1024)
  const right = createHash('sha256').update(content).digest('hex')
  writeFileSync(join(tree, 'file'), content)
  await packTree(tree, lab.path('a.fl'), lab.folder('store'), new Map())
  const sum = async (directory: string): Promise<string> =>
    (await lab.ok('sha256sum', [join(directory, 'file')])).slice(0, 64)

  const first = await lab.mount('a.fl')
  t.equal(await sum(first.directory), right)
  await lab.ok('umount', [first.directory])
  const segments = join(lab.cache, 'v1', 'segments')
  const [segment] = readdirSync(segments, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.seg'))
  const path = join(segments, segment ?? '')
  const bytes = readFileSync(path)
  bytes[1000] = (bytes[1000] ?? 0) ^ 0xff
  writeFileSync(path, bytes)

  const careful = await lab.mount('a.fl', { words: ['--verify', 'always'] })
  t.equal(await sum(careful.directory), right, 'fetched again')
  t.match(readFileSync(careful.log, 'utf8'), /cached block is damaged/)
})
