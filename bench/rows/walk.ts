import { shell, dropCaches } from '../shell.ts'
import { type Bench, type Outcome, paired, ratio, type Row } from '../row.ts'
import { type Failures, type Roots, withMounts } from './mounts.ts'

/** Every name and attribute of the tree of 150,000 entries. */
export const walk: Row = {
  name: 'walk',
  run: (bench) =>
    withMounts(bench, { archive: bench.fixtures.smallArchive, folder: 'small', peers: true }, (roots, _, failed) => [
      outcome(bench, roots, failed, 'walk, warm', false),
      outcome(bench, roots, failed, 'walk, kernel caches dropped', true),
    ]),
}

function outcome(bench: Bench, roots: Roots, failed: Failures, row: string, cold: boolean): Outcome {
  const measure = (root: string) => (): number => {
    const line = `find ${root} -printf '%s %m\\n' > /dev/null`
    if (cold) dropCaches()
    else shell(line)
    return shell(line).ms / 1000
  }
  const medians = paired(
    bench.scale.repetitions,
    Object.fromEntries(Object.entries(roots).map(([name, root]) => [name, measure(root)])),
    failed,
  )
  const figure = ratio(medians, 'flistfs', ['ext4', 'EROFS'])
  return { row, unit: 's', medians, figure, figureUnit: 'x', target: { most: 1.0 }, failed }
}
