import { setTimeout as sleep } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { displaySize, displayText } from '../lib/base/index.ts'
import type { MountStats } from '../lib/commands/stats.ts'
import { table, write } from './output.ts'
import { statsText } from './texts.ts'
import type { Context } from './verb.ts'

/** Home, and clear what is below: each line is cleared as it is written, so that nothing flickers. */
const HOME = '\u001B[H'
const CLEAR_LINE = '\u001B[K'
const CLEAR_BELOW = '\u001B[J'
const HEADER_EVERY = 20

/**
 * Shows the numbers of mounts again and again: redrawn on a terminal, a line a mount in a pipe, with --json one value a line.
 * Ends with 0 when it is interrupted or nobody reads any more.
 */
export async function watchStats(
  look: () => Promise<MountStats[]>,
  everyMs: number,
  context: Context,
): Promise<number> {
  const { output, signal } = context
  const draw = output.json ? jsonLine : isatty(1) ? redraw : new Lines().next
  try {
    for (;;) {
      if (!write(1, draw(await look()))) return 0
      await sleep(everyMs, undefined, { signal })
    }
  } catch (error) {
    if (signal.aborted) return 0
    throw error
  }
}

function jsonLine(answers: readonly MountStats[]): string {
  return `${JSON.stringify({ at: new Date().toISOString(), mounts: answers })}\n`
}

function redraw(answers: readonly MountStats[]): string {
  const { rows, columns } = process.stdout
  const text = `${new Date().toISOString().slice(11, 19)} UTC\n${statsText(answers)}`
  // What there is no room for would push the rest off the top. A terminal may not know its size: 0.
  const lines = text
    .trimEnd()
    .split('\n')
    .slice(0, (rows || Infinity) - 1)
    .map((line) => `${displayText(line.slice(0, columns || Infinity))}${CLEAR_LINE}\n`)
  return HOME + lines.join('') + CLEAR_BELOW
}

/** What happened since the last line, as vmstat(8) shows it. */
export class Lines {
  readonly #before = new Map<string, { readonly sample: Sample; readonly atMs: number }>()
  #count = 0

  /** Asking takes time too, so that a look may come later than it should. */
  readonly next = (answers: readonly MountStats[], atMs = performance.now()): string => {
    const rows: string[][] = []
    if (this.#count % HEADER_EVERY === 0) {
      rows.push(['TIME', 'HERE', 'READ/S', 'REQUESTS/S', 'FETCHED/S', 'WAITING', 'ERRORS', 'DIRECTORY'])
    }
    this.#count += 1
    const time = new Date().toISOString().slice(11, 19)
    for (const answer of answers) {
      if ('error' in answer)
        rows.push([time, '-', '-', '-', '-', '-', '-', `${answer.directory}: ${answer.error.message}`])
      else rows.push(this.#row(time, answer, atMs))
    }
    return table(
      rows.map((row) => row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(WIDTHS[at] ?? 0)))),
    )
  }

  #row(time: string, answer: Exclude<MountStats, { error: unknown }>, atMs: number): string[] {
    const now = sampleOf(answer)
    const before = this.#before.get(answer.directory)
    this.#before.set(answer.directory, { sample: now, atMs })
    const rate = (key: keyof Sample): number =>
      before === undefined ? 0 : (Math.max(0, now[key] - before.sample[key]) * 1000) / (atMs - before.atMs)
    const { blocks, reads } = answer
    const here = blocks.total === 0 ? '-' : `${Math.floor((100 * blocks.cached) / blocks.total)} %`
    return [
      time,
      here,
      displaySize(rate('readBytes')),
      String(Math.round(rate('requests'))),
      displaySize(rate('fetchedBytes')),
      String(Number(reads?.['waiting'] ?? 0)),
      String(Number(reads?.['errors'] ?? 0)),
      answer.directory,
    ]
  }
}

const WIDTHS: readonly number[] = [8, 5, 10, 10, 10, 7, 6]

interface Sample {
  readonly readBytes: number
  readonly requests: number
  readonly fetchedBytes: number
}

function sampleOf(answer: Exclude<MountStats, { error: unknown }>): Sample {
  const sum = (items: readonly Readonly<Record<string, unknown>>[], key: string): number =>
    items.reduce((total, item) => total + Number(item[key] ?? 0), 0)
  return {
    readBytes: Number(answer.reads?.['bytes'] ?? 0),
    requests: sum(Object.values(answer.requests), 'count'),
    fetchedBytes: sum(answer.stores, 'bytes'),
  }
}
