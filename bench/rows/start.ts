import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Outcome, paired, type Row } from '../row.ts'
import { shell } from '../shell.ts'
import { NODE } from '../program.ts'

/** Milliseconds until a server has kept what its start compiled (bin/launch.ts), with room. */
const KEPT_AFTER_MS = 6000

/** From exec of `flistfs mount` to the first answered stat, its index being there; Node's own start is taken off. */
export const start: Row = {
  name: 'start',
  run: async (bench): Promise<Outcome[]> => {
    const { systems, fixtures, scale } = bench
    const cache = join(fixtures.work, 'cache')
    const options = { archive: fixtures.hugeArchive, store: `dir://${fixtures.store}`, cache }
    // Makes the index, and checks it for this boot; then it keeps what it compiled, which takes it a while to begin.
    systems.mountFlistfs(options).close()
    const first = systems.mountFlistfs(options)
    await sleep(KEPT_AFTER_MS)
    first.close()
    const medians = paired(Math.max(3, scale.repetitions), {
      'flistfs mount && stat': () => {
        const directory = systems.scratch('start')
        const file = `${directory}/folder-77/some-file-50.txt`
        const line = `${systems.mountLine(options, directory)} > /dev/null && stat -c %s ${file} > /dev/null`
        try {
          return shell(line, systems.env).ms
        } finally {
          shell(`sh ${systems.program} umount ${directory}; rmdir ${directory}`, systems.env)
        }
      },
      'node -e 0': () => shell(`mkdir -p ${cache} && ${NODE} -e 0 && stat -c %s ${cache} > /dev/null`).ms,
    })
    const figure = (medians['flistfs mount && stat'] ?? Number.NaN) - (medians['node -e 0'] ?? Number.NaN)
    const row = 'exec to first stat, 1 M inodes, index present'
    return [{ row, unit: 'ms', medians, figure, figureUnit: 'ms', target: { most: 50 } }]
  },
}
