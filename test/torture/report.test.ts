import t from 'tap'
import { byTenths, excerpt, faultLine, faultsOf, tenths } from './report.ts'

const MIB = 1024 * 1024

/** One a second. */
function eventsOf(count: number): string[] {
  return Array.from({ length: count }, (_, nth) => `${new Date(nth * 1000).toISOString()} event ${nth}`)
}

t.test('excerpt() shows each fault with forty events before it, each once', async (t) => {
  const events = [...eventsOf(100), faultLine('one', new Date(60_500).toISOString())].toSorted()
  events.splice(75, 0, faultLine('two'))
  t.strictSame(excerpt(events), ['[21 events]', ...events.slice(21, 76)])
  t.strictSame(excerpt(events.slice(59, 63)), events.slice(59, 62))
  t.strictSame(excerpt(eventsOf(100)), [], 'nothing where all is well')
})

t.test('excerpt() is short, however many faults there are and however long', async (t) => {
  const lines = excerpt(Array.from({ length: 50 }, () => faultLine('x'.repeat(10_000))))
  t.equal(lines.length, 21)
  t.match(lines[0], /^\S+ FAULT x+ \[\d+ more characters\]$/)
  t.equal(lines.at(-1), '[30 more faults]')
  t.ok(lines.join('\n').length < 50_000)
})

t.test('faultsOf() finds the faults of an excerpt again', async (t) => {
  const [one, two] = [faultLine('a difference:\n- this\n+ that\n'), faultLine('two')]
  const output = ['seed 1', ...excerpt([...eventsOf(3), one, two, ...eventsOf(1)]), 'FAILED'].join('\n')
  t.strictSame(faultsOf(output), [
    { fault: one.trimEnd().replaceAll('\n', '\n    '), before: ['seed 1', ...eventsOf(3)] },
    { fault: two, before: [] },
  ])
  t.strictSame(faultsOf('seed 1\npassed'), [])
})

t.test('byTenths() has the median of each tenth of a run', async (t) => {
  const samples = Array.from({ length: 109 }, (_, nth) => nth * MIB)
  samples[3] = 1e12
  const medians = [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
  t.equal(byTenths(samples), medians.map((mib) => `${mib + (mib === 5 ? 1 : 0)} MiB`).join(', '))
  t.strictSame(tenths(samples.slice(0, 9)), [], 'too few')
})
