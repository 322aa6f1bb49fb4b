/** Faults shown, and what was done before each. */
const FAULTS_MAX = 20
const EVENTS_BEFORE = 40
/** Of one event: a fault may have the difference of two trees in it. */
const CHARACTERS_MAX = 2000

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

function shortened(event: string): string {
  if (event.length <= CHARACTERS_MAX) return event
  return `${event.slice(0, CHARACTERS_MAX)} [${event.length - CHARACTERS_MAX} more characters]`
}
