import { join } from 'node:path'
import { type Bench, type Outcome, paired, type Row } from '../row.ts'
import { shell, which } from '../shell.ts'
import { readBig } from '../reading.ts'
import { withMounts } from './mounts.ts'

/** Random reads of 4 KiB of a file that the kernel has in its cache: through an overlay, as in a writable root. */
export const random: Row = {
  name: 'random',
  run: (bench) => {
    if (which('fio') === undefined) {
      bench.say('fio is absent: no random reads')
      return []
    }
    const wanted = { archive: bench.fixtures.bigArchive, folder: 'big', filled: 'big', words: ['--rw'] } as const
    return withMounts(bench, wanted, (roots) => outcome(bench, roots))
  },
}

function outcome(bench: Bench, roots: Readonly<Record<string, string>>): Outcome[] {
  const measure = (root: string) => (): number => {
    readBig(root)
    return iops(join(root, 'big.bin'), bench.scale.bigBytes)
  }
  const medians = paired(
    bench.scale.repetitions,
    Object.fromEntries(Object.entries(roots).map(([name, root]) => [name, measure(root)])),
  )
  const figure = (medians['flistfs'] ?? Number.NaN) / (medians['ext4'] ?? Number.NaN)
  const row = '4 KiB random reads, warm, through overlayfs'
  const note = 'flistfs through the overlay of --rw, the others as they are'
  return [{ row, unit: 'IOPS', medians, figure, figureUnit: 'x', target: { least: 0.8 }, note }]
}

/** `--invalidate=0`: fio would empty the page cache first. */
function iops(file: string, bytes: number): number {
  const words = `--name=random --filename=${file} --readonly --rw=randread --bs=4k --ioengine=psync --invalidate=0`
  const { stdout } = shell(`fio ${words} --size=${bytes} --runtime=2 --time_based --randseed=1 --output-format=json`)
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: { read: { iops: number } }[] }
  return report.jobs[0]?.read.iops ?? Number.NaN
}
