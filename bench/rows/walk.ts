import { shell, dropCaches } from '../shell.ts'
import { type Bench, type Outcome, paired, ratio, type Row } from '../row.ts'
import { withMounts } from './mounts.ts'

/** Every name and attribute of the tree of 150,000 entries. */
export const walk: Row = {
  name: 'walk',
  run: (bench) =>
    withMounts(bench, { archive: bench.fixtures.smallArchive, folder: 'small' }, (roots) => [
      outcome(bench, roots, 'walk, warm', false),
      outcome(bench, roots, 'walk, kernel caches dropped', true),
    ]),
}

function outcome(bench: Bench, roots: Readonly<Record<string, string>>, row: string, cold: boolean): Outcome {
  const measure = (root: string) => (): number => {
    const line = `find ${root} -printf '%s %m\\n' > /dev/null`
    if (cold) dropCaches()
    else shell(line)
    return shell(line).ms / 1000
  }
  const medians = paired(
    bench.scale.repetitions,
    Object.fromEntries(Object.entries(roots).map(([name, root]) => [name, measure(root)])),
  )
  const figure = ratio(medians, 'flistfs', ['ext4', 'EROFS'])
  return { row, unit: 's', medians, figure, figureUnit: 'x', target: { most: 1.0 } }
}
