import { join, resolve } from 'node:path'
import { type Bench, type Outcome, paired, type Row } from '../row.ts'
import { shell } from '../shell.ts'
import { NODE } from '../program.ts'

const CHILD = resolve(import.meta.dirname, '../children/compile.ts')

interface Compiled {
  readonly ms: number
  readonly peakBytes: number
}

/** The first mount of an archive makes its index: once for each archive and machine. */
export const compile: Row = {
  name: 'compile',
  run: (bench): Outcome[] => {
    let peakBytes = 0
    const measure = (archive: string) => (): number => {
      const compiled = compileOnce(bench, archive)
      peakBytes = Math.max(peakBytes, compiled.peakBytes)
      return compiled.ms / 1000
    }
    const { hugeArchive, hugeV1Archive } = bench.fixtures
    const medians = paired(Math.min(3, bench.scale.repetitions), {
      fl: measure(hugeArchive),
      v1: measure(hugeV1Archive),
    })
    const row = 'making the index of 1 M inodes and 1 M blocks'
    const note = `at most ${Math.round(peakBytes / 1e6)} MB resident meanwhile`
    return [{ row, unit: 's', medians, figure: medians['fl'] ?? Number.NaN, figureUnit: 's', target: undefined, note }]
  },
}

function compileOnce(bench: Bench, archive: string): Compiled {
  const folder = bench.systems.scratch('compile')
  try {
    return JSON.parse(shell(`${NODE} ${CHILD} ${archive} ${join(folder, 'index')}`).stdout) as Compiled
  } finally {
    bench.systems.remove(folder)
  }
}
