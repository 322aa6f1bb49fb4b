import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { LIMITS } from '../../lib/base/index.ts'
import { goldenDir } from '../../test/golden.ts'
import { type Bench, type Outcome, paired, type Row } from '../row.ts'
import { dropCaches, shell } from '../shell.ts'
import { NODE } from '../program.ts'

const CHILD = resolve(import.meta.dirname, '../children/resident.ts')
const PROGRAM = `/bin/bash -c 'env | sort | tail -1; date -d @0; head -c 100 /usr/bin/env | sha256sum'`

/** The first start of programs of a Debian tree: blocks that came, against blocks in which a page was touched. */
export const program: Row = {
  name: 'program',
  run: (bench): Outcome[] => {
    const golden = goldenDir()
    if (golden === undefined) {
      bench.say('the golden set is absent: no start of a program')
      return []
    }
    const archive = join(golden, 'fl/debian.fl')
    const store = `dir://${join(golden, 'fl/store')}`
    const touched = touchedBlocks(bench, archive, store)
    const medians = paired(Math.min(3, bench.scale.repetitions), {
      fetched: () => fetchedBlocks(bench, archive, store),
    })
    const figure = (medians['fetched'] ?? Number.NaN) / touched
    const row = 'blocks fetched at the first start of bash and six programs of coreutils'
    return [{ row, unit: 'blocks', medians: { ...medians, touched }, figure, figureUnit: 'x', target: { most: 1.1 } }]
  },
}

function fetchedBlocks(bench: Bench, archive: string, store: string): number {
  const { systems } = bench
  const cache = systems.emptyCache(archive)
  const mounted = systems.mountFlistfs({ archive, store, cache })
  try {
    shell(`chroot ${mounted.directory} ${PROGRAM}`)
    const stats = systems.stats(mounted)
    const asked = stats.stores.reduce((sum, { requests }) => sum + requests, 0)
    if (asked !== stats.blocks.cached) bench.say(`${asked} requests brought ${stats.blocks.cached} blocks`)
    return asked
  } finally {
    mounted.close()
    systems.remove(cache)
  }
}

/** On an image of its own whose readahead is off: there only what is touched comes into the kernel's cache. */
function touchedBlocks(bench: Bench, archive: string, store: string): number {
  const image = join(bench.fixtures.work, 'debian.ext4')
  if (!existsSync(image)) makeImage(bench, archive, store, image)
  const mounted = bench.systems.mountImage(image)
  try {
    setReadahead(image, '0')
    dropCaches()
    shell(`chroot ${mounted.directory} ${PROGRAM}`)
    const { stdout } = shell(`${NODE} ${CHILD} ${mounted.directory} ${LIMITS.blockBytesMax}`)
    return (JSON.parse(stdout) as { blocks: number }).blocks
  } finally {
    setReadahead(image, '128')
    mounted.close()
  }
}

function makeImage(bench: Bench, archive: string, store: string, image: string): void {
  const { systems } = bench
  const cache = systems.scratch('cache')
  const mounted = systems.mountFlistfs({ archive, store, cache })
  try {
    shell(
      `truncate -s 300M ${image}.tmp && mkfs.ext4 -q -d ${mounted.directory} ${image}.tmp && mv ${image}.tmp ${image}`,
    )
  } finally {
    mounted.close()
    systems.remove(cache)
  }
}

function setReadahead(image: string, kilobytes: string): void {
  for (const name of readdirSync('/sys/block')) {
    const backing = `/sys/block/${name}/loop/backing_file`
    if (!existsSync(backing) || readFileSync(backing, 'utf8').trim() !== image) continue
    writeFileSync(`/sys/block/${name}/queue/read_ahead_kb`, kilobytes)
  }
}
