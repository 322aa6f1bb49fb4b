import t from 'tap'
import { displayDuration, parseDuration } from '../../lib/base/duration.ts'

t.test('parseDuration() reads seconds and units', async (t) => {
  const cases: [string, number][] = [
    ['30', 30_000],
    ['0.5', 500],
    ['500ms', 500],
    ['30s', 30_000],
    ['2m', 120_000],
    [' 1h ', 3_600_000],
  ]
  for (const [text, ms] of cases) t.equal(parseDuration(text, 'a time'), ms, text)
})

t.test('parseDuration() refuses what is none', async (t) => {
  for (const text of ['', '0', '0.0001ms', '-1', '1d', '1 s 2', 'NaN', '1e3', '1000h']) {
    t.throws(
      () => parseDuration(text, 'a time'),
      { code: 'FLIST_USAGE', message: `Cannot use "${text}" as a time` },
      text,
    )
  }
})

t.test('displayDuration() is for people', async (t) => {
  t.strictSame([-1, 0.4, 59, 61, 3600, 90_061].map(displayDuration), [
    '0 s',
    '0 s',
    '59 s',
    '1 min 01 s',
    '1 h 00 min',
    '25 h 01 min',
  ])
})
