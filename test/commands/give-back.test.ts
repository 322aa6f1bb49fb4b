import t from 'tap'
import { GiveBack } from '../../lib/commands/give-back.ts'

t.test('look() gives all back once at each rest, and nothing where nothing was done', async (t) => {
  const giveBack = new GiveBack()
  t.equal(giveBack.look(0, 0), 'nothing')
  t.equal(giveBack.look(5, 0), 'nothing', 'something was done just now')
  t.equal(giveBack.look(5, 1), 'nothing', 'somebody waits')
  t.equal(giveBack.look(5, 0), 'all')
  t.equal(giveBack.look(5, 0), 'nothing', 'only once')
  t.equal(giveBack.isQuiet, true)
  t.equal(giveBack.look(6, 0), 'nothing')
  t.equal(giveBack.isQuiet, false)
  t.equal(giveBack.look(6, 0), 'all')
})

t.test('look() gives free pages back at each tenth look without a rest', async (t) => {
  const giveBack = new GiveBack()
  const given = Array.from({ length: 40 }, (_, nth) => giveBack.look(nth + 1, nth % 3))
  t.strictSame(
    given.flatMap((what, nth) => (what === 'nothing' ? [] : [[nth + 1, what]])),
    [10, 20, 30, 40].map((look) => [look, 'pages']),
  )
  t.equal(giveBack.look(40, 0), 'all', 'and the rest afterwards gives back what is left')
})

t.test('look() gives all back once a minute without a rest', async (t) => {
  const giveBack = new GiveBack()
  const given = Array.from({ length: 130 }, (_, nth) => giveBack.look(nth + 1, 1))
  t.strictSame(
    given.flatMap((what, nth) => (what === 'all' ? [nth + 1] : [])),
    [60, 120],
  )
  t.equal(given.filter((what) => what === 'pages').length, 11)
})

t.test('look() gives nothing back while readers only wait', async (t) => {
  const giveBack = new GiveBack()
  const given = Array.from({ length: 40 }, () => giveBack.look(7, 3))
  t.equal(given.filter((what) => what === 'pages').length, 1, 'once, for what was done before')
  t.equal(given.filter((what) => what === 'all').length, 0)
})
