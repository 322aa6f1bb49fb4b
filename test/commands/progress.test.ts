import t, { type Test } from 'tap'
import { packing, showProgress } from '../../lib/commands/progress.ts'

t.test('showProgress() is silent in a pipe, and when nobody asks', async (t) => {
  const lines: string[] = []
  for (const progress of [
    showProgress((text) => void lines.push(text), 'Fetching it', false),
    showProgress(undefined, 'Fetching it', true),
  ]) {
    t.equal(progress.onProgress, undefined)
    t.equal(progress.onRows, undefined)
    t.equal(packing(progress), undefined)
    progress.end()
  }
  const piped = showProgress(
    (text) => void lines.push(text),
    'Fetching it',
    () => false,
  )
  const clock = stopped(t)
  piped.onProgress?.(1)
  clock.now += 10_000
  piped.onProgress?.(2)
  piped.end()
  t.strictSame(lines, [])
})

/** A clock that stands still until it is moved. */
function stopped(t: Test): { now: number } {
  const clock = { now: 1000 }
  t.capture(performance, 'now', () => clock.now)
  return clock
}

function begin(t: Test) {
  const clock = stopped(t)
  const lines: string[] = []
  const progress = showProgress(
    (text) => void lines.push(text.replace('\r\u001b[K', '')),
    'Fetching it',
    () => true,
  )
  return { clock, lines, progress }
}

t.test('showProgress() says how much, how fast and how long, now and then, and clears its line', async (t) => {
  const { clock, lines, progress } = begin(t)
  progress.end()
  progress.onProgress?.(1024, 11_264)
  t.strictSame(lines, [], 'what is quick needs no line')
  clock.now += 1000
  progress.onProgress?.(2048, 11_264, 7)
  progress.onProgress?.(2049, 11_264, 8)
  clock.now += 1000
  progress.onProgress?.(3072)
  clock.now += 1000
  progress.onProgress?.(11_264, 4096)
  progress.end()
  progress.end()
  t.strictSame(
    lines,
    ['2.0 KiB of 11.0 KiB (18 %), 7 entries, 1.0 KiB/s, 9 s left', '3.0 KiB, 1.0 KiB/s', '11.0 KiB, 3.3 KiB/s', ''].map(
      (line) => (line === '' ? '' : `Fetching it: ${line}`),
    ),
  )
})

t.test('showProgress() counts what an earlier run did as done, not as fast', async (t) => {
  const { clock, lines, progress } = begin(t)
  progress.onRows?.(900_000, 1_000_000)
  clock.now += 1000
  progress.onRows?.(910_000, 1_000_000)
  clock.now += 1000
  progress.onRows?.(1_000_001, 1_000_000)
  t.strictSame(lines, [
    'Fetching it: 910000 of 1000000 rows (91 %), 10000/s, 9 s left',
    'Fetching it: 1000001 rows, 50001/s',
  ])
})

t.test('showProgress() measures anew what begins anew', async (t) => {
  const { clock, lines, progress } = begin(t)
  progress.onRows?.(900, 1000)
  clock.now += 1000
  progress.onRows?.(10, 1000)
  clock.now += 1000
  progress.onRows?.(20, 1000)
  t.strictSame(lines, [
    'Fetching it: 10 of 1000 rows (1 %)',
    'Fetching it: 20 of 1000 rows (2 %), 10/s, 1 min 38 s left',
  ])
})

t.test('showProgress() has a line that fits, and says nothing of a rate that it cannot know', async (t) => {
  const clock = stopped(t)
  const lines: string[] = []
  const columns = (process.stderr.columns || 80) - 1
  for (const name of ['short', 'x'.repeat(200), '']) {
    const progress = showProgress((text) => void lines.push(text.replace('\r\u001b[K', '')), 'Packing', true, name)
    clock.now += 1000
    packing(progress)?.({ bytes: 5, total: 10, entries: 3 })
  }
  const text = ': 5 B of 10 B (50 %), 3 entries'
  t.strictSame(lines, [
    `Packing short${text}`,
    `Packing …${'x'.repeat(columns - 9 - text.length)}${text}`,
    `Packing${text}`,
  ])
  const long = showProgress((text) => void lines.push(text), 'x'.repeat(200), true)
  clock.now += 1000
  long.onProgress?.(1, 0)
  t.equal(lines.at(-1), `\r\u001b[K${'x'.repeat(columns)}`)
})
