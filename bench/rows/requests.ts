import { readSmall, readBig } from '../reading.ts'
import type { Bench, Outcome, Row } from '../row.ts'
import { dropCaches, shell } from '../shell.ts'
import type { Mounted } from '../systems.ts'
import { withMounts } from './mounts.ts'

/** How often the kernel asks, by workload: the cheapest request is the one not sent. */
export const requests: Row = {
  name: 'requests',
  run: async (bench) => {
    const { smallArchive, bigArchive } = bench.fixtures
    const small = await withMounts(bench, { archive: smallArchive, folder: 'small', filled: 'small' }, (_, ours) => [
      counted(bench, ours, 'walk', () => shell(`find ${ours.directory} -printf '%s %m\\n' > /dev/null`)),
      counted(bench, ours, '10,000 small files', () => readSmall(ours.directory)),
    ])
    const big = await withMounts(bench, { archive: bigArchive, folder: 'big', filled: 'big' }, (_, ours) => [
      counted(bench, ours, 'large file', () => readBig(ours.directory)),
    ])
    return [...small, ...big]
  },
}

function counted(bench: Bench, mounted: Mounted, work: string, run: () => unknown): Outcome {
  const row = `requests: ${work}, kernel caches dropped, then again`
  const first = difference(bench, mounted, () => {
    dropCaches()
    run()
  })
  const again = difference(bench, mounted, run)
  const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((all, count) => all + count, 0)
  const medians = { ...first, again: sum(again) }
  return { row, unit: 'requests', medians, figure: sum(first), figureUnit: '', target: undefined }
}

function difference(bench: Bench, mounted: Mounted, run: () => unknown): Record<string, number> {
  const before = bench.systems.stats(mounted).requests
  run()
  const after = bench.systems.stats(mounted).requests
  const entries = Object.entries(after).map(([name, { count }]) => [name, count - (before[name]?.count ?? 0)] as const)
  return Object.fromEntries(entries.filter(([name, count]) => count > 0 && !/forget/i.test(name)))
}
