/** Faults shown, and what was done before each. */
const FAULTS_MAX = 20
const EVENTS_BEFORE = 40
/** Of one event: a fault may have the difference of two trees in it. */
const CHARACTERS_MAX = 2000
const TENTHS = 10
const MIB = 1024 * 1024

/** A fault as a line among the events; `at` is its moment, where it was not now. */
export function faultLine(what: string, at = new Date().toISOString()): string {
  return `${at} FAULT ${what}`
}

/** The first faults with what was done just before them, each event once; events are in the order of their moments. */
export function excerpt(events: readonly string[]): string[] {
  const faults = events.flatMap((event, index) => (/^\S+ FAULT /.test(event) ? [index] : []))
  const lines: string[] = []
  let next = 0
  for (const fault of faults.slice(0, FAULTS_MAX)) {
    const first = Math.max(next, fault - EVENTS_BEFORE)
    if (first > next) lines.push(`[${first - next} events]`)
    lines.push(...events.slice(first, fault + 1).map(shortened))
    next = fault + 1
  }
  if (faults.length > FAULTS_MAX) lines.push(`[${faults.length - FAULTS_MAX} more faults]`)
  return lines
}

/** What goes on over lines is set off, so that each other line begins an event. */
function shortened(event: string): string {
  const rest = event.length > CHARACTERS_MAX ? ` [${event.length - CHARACTERS_MAX} more characters]` : ''
  return (event.slice(0, CHARACTERS_MAX).trimEnd() + rest).replaceAll('\n', '\n    ')
}

/** The faults of an output with an excerpt in it, each with the lines that stand between it and the one before. */
export function faultsOf(output: string): { readonly fault: string; readonly before: readonly string[] }[] {
  const lines = output.split(/\n(?! {4})/)
  const faults = lines.flatMap((line, index) => (/^\S+ FAULT /.test(line) ? [index] : []))
  return faults.map((at, nth) => ({ fault: lines[at] ?? '', before: lines.slice((faults[nth - 1] ?? -1) + 1, at) }))
}

/** Medians of each tenth of a run; none where there are too few samples. */
export function tenths(samples: readonly number[]): number[] {
  const size = Math.floor(samples.length / TENTHS)
  if (size === 0) return []
  return Array.from({ length: TENTHS }, (_, nth) => {
    const part = samples.slice(nth * size, (nth + 1) * size).toSorted((a, b) => a - b)
    return part[size >> 1] ?? 0
  })
}

export function byTenths(bytes: readonly number[]): string {
  return tenths(bytes).map(toMib).join(', ')
}

export function toMib(bytes: number): string {
  return `${Math.round(bytes / MIB)} MiB`
}
