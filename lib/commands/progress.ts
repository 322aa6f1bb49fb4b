import { displayDuration, displaySize } from '../base/index.ts'
import type { PackProgress } from '../make/index.ts'

/** Milliseconds until a first line: what is quick needs none. */
const FIRST_MS = 500
const EVERY_MS = 200
/** Milliseconds of work that a rate can be told of. */
const RATE_MS = 100
/** Of a name, less says nothing. */
const NAME_MIN = 8
/** Of a terminal that does not say. */
const COLUMNS = 80

export interface Progress {
  /** Plain bytes done, of how many where that is known, and entries done. Undefined where nobody looks. */
  readonly onProgress: ((bytes: number, total?: number, entries?: number) => void) | undefined
  /** The same for work that has no bytes. */
  readonly onRows: ((rows: number, total?: number) => void) | undefined
  /** Clears the line. */
  end(): void
}

/**
 * One line on a terminal for work that takes long: how much is done, how fast, and the time it still takes; nothing in a pipe. Whether
 * it is a terminal is asked when there is something to say: Node loads 4 ms of modules to know.
 */
export function showProgress(
  write: ((text: string) => void) | undefined,
  doing: string,
  isTerminal: boolean | (() => boolean),
  name = '',
): Progress {
  if (write === undefined || isTerminal === false) {
    return { onProgress: undefined, onRows: undefined, end: () => undefined }
  }
  let last = performance.now() + FIRST_MS - EVERY_MS
  let first: { readonly ms: number; readonly done: number } | undefined
  let shown = false
  let known: boolean | undefined
  const show = (done: number, total: number | undefined, text: (rate: number) => string): void => {
    const now = performance.now()
    // What an earlier run did is no work of this one. Where a download begins anew so does its rate.
    if (first === undefined || done < first.done) first = { ms: now, done }
    if (now - last < EVERY_MS) return
    last = now
    known ??= typeof isTerminal === 'boolean' ? isTerminal : isTerminal()
    if (!known) return
    shown = true
    const ms = now - first.ms
    const rate = ms < RATE_MS ? 0 : ((done - first.done) * 1000) / ms
    const left = rate === 0 || total === undefined ? '' : `, ${displayDuration(Math.ceil((total - done) / rate))} left`
    write(`\r\u001b[K${fitted(doing, name, `: ${text(rate)}${left}`)}`)
  }
  return {
    onProgress: (bytes, total, entries) => {
      const of = total === undefined || total < bytes ? undefined : total
      show(bytes, of, (rate) => {
        const count = entries === undefined ? '' : `, ${entries} entries`
        const speed = rate === 0 ? '' : `, ${displaySize(Math.round(rate))}/s`
        return `${displaySize(bytes)}${of === undefined ? '' : ` of ${displaySize(of)}`}${percent(bytes, of)}${count}${speed}`
      })
    },
    onRows: (rows, total) => {
      const of = total === undefined || total < rows ? undefined : total
      show(rows, of, (rate) => {
        const speed = rate === 0 ? '' : `, ${Math.round(rate)}/s`
        return `${rows}${of === undefined ? '' : ` of ${of}`} rows${percent(rows, of)}${speed}`
      })
    },
    end: () => {
      if (shown) write('\r\u001b[K')
      shown = false
    },
  }
}

function percent(done: number, total: number | undefined): string {
  return total === undefined || total === 0 ? '' : ` (${Math.floor((100 * done) / total)} %)`
}

/** A line that is broken in two cannot be cleared. What is left of a long name is its end: there names differ. */
function fitted(doing: string, name: string, text: string): string {
  const columns = (process.stderr.columns || COLUMNS) - 1
  const room = columns - doing.length - text.length - 1
  if (name === '' || room < NAME_MIN) return `${doing}${text}`.slice(0, columns)
  return `${doing} ${name.length > room ? `…${name.slice(1 - room)}` : name}${text}`
}

/** As making an archive of a folder or a tar tells how far it is. */
export function packing({ onProgress }: Progress): ((done: PackProgress) => void) | undefined {
  return onProgress && (({ bytes, total, entries }) => onProgress(bytes, total, entries))
}
