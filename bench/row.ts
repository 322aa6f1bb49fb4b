import { describeError } from '../lib/base/index.ts'
import type { Fixtures } from './fixtures.ts'
import { PEER_NAMES } from './peers.ts'
import type { Scale } from './scale.ts'
import { median } from './shell.ts'
import type { Systems } from './systems.ts'

/** What a row gets. */
export interface Bench {
  readonly scale: Scale
  readonly fixtures: Fixtures
  readonly systems: Systems
  say(text: string): void
}

/** Medians by system, and what the target is about. */
export interface Outcome {
  readonly row: string
  readonly unit: 's' | 'ms' | 'MB' | 'IOPS' | 'blocks' | 'requests'
  /** By system, in the unit. */
  readonly medians: Readonly<Record<string, number>>
  /** Programs of others that are here but did not do it, and what they said. */
  readonly failed?: Readonly<Record<string, string>> | undefined
  /** The number that the target limits. */
  readonly figure: number
  /** `x`: a ratio. */
  readonly figureUnit: 'x' | 's' | 'ms' | 'MB' | ''
  readonly target: Target | undefined
  readonly note?: string | undefined
}

/** From design.md section 8. */
export interface Target {
  readonly most?: number
  readonly least?: number
}

export interface Row {
  readonly name: string
  run(bench: Bench): Promise<Outcome[]> | Outcome[]
}

export function reached({ figure, target }: Outcome): boolean | undefined {
  if (target === undefined) return undefined
  if (!Number.isFinite(figure)) return false
  return figure <= (target.most ?? Infinity) && figure >= (target.least ?? -Infinity)
}

/**
 * One measurement of each system in turn, so often as asked; the order changes, so that no one always comes first. Returns the
 * medians. A peer that fails is put into `failed`, is not asked again and has no number; any other failure comes out.
 */
export function paired(
  repetitions: number,
  systems: Readonly<Record<string, (() => number) | undefined>>,
  failed: Record<string, string> = {},
): Record<string, number> {
  const present = Object.entries(systems).flatMap(([name, measure]) =>
    measure === undefined ? [] : [{ name, measure }],
  )
  const values = new Map(present.map(({ name }) => [name, [] as number[]]))
  for (let nth = 0; nth < repetitions; nth += 1) {
    present.forEach((_, at) => {
      const system = present[(at + nth) % present.length]
      if (system === undefined || failed[system.name] !== undefined) return
      try {
        values.get(system.name)?.push(system.measure())
      } catch (error) {
        if (!(PEER_NAMES as readonly string[]).includes(system.name)) throw error
        failed[system.name] = describeError(error)
      }
    })
  }
  for (const name of Object.keys(failed)) values.delete(name)
  return Object.fromEntries([...values].map(([name, list]) => [name, median(list)]))
}

/** Ours over the fastest of the others named, smaller is better; NaN where none of them is there. */
export function ratio(medians: Readonly<Record<string, number>>, ours: string, others: readonly string[]): number {
  const rivals = others.flatMap((name) => (medians[name] === undefined ? [] : [medians[name]]))
  return (medians[ours] ?? Number.NaN) / Math.min(...rivals)
}
