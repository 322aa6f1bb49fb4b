import fc from 'fast-check'
import t from 'tap'
import { globMatcher } from '../../../lib/flist/look/glob.ts'

const fits = (pattern: string, name: string | Buffer, ignoreCase = false): boolean =>
  globMatcher(pattern, ignoreCase)(Buffer.from(name as string))

t.test('globMatcher() matches as fnmatch(3) does', async (t) => {
  for (const [pattern, name] of [
    ['*', ''],
    ['*', '.hidden'],
    ['a*b*c', 'a/xx/b-c'],
    ['?', 'ü'],
    ['[a-c]x', 'bx'],
    ['[!a-c]x', 'dx'],
    ['[]]x', ']x'],
    ['[', '['],
    ['\\*', '*'],
    ['a**b', 'ab'],
    ['lib*.so.?', 'libc.so.6'],
  ] as const) {
    t.ok(fits(pattern, name), `${pattern} fits ${name}`)
  }
  for (const [pattern, name] of [
    ['?', ''],
    ['?', 'ab'],
    ['[!a]', 'a'],
    ['a*b', 'a-b-c'],
    ['\\*', 'x'],
    ['A', 'a'],
  ] as const) {
    t.notOk(fits(pattern, name), `${pattern} does not fit ${name}`)
  }
  t.ok(fits('A*', 'abc', true))
  t.ok(globMatcher('??', false)(Buffer.from([0xff, 0xfe])), 'bytes that are no UTF-8 count one each')
  t.ok(
    globMatcher('ü*\udcff', false)(Buffer.from('\xc3\xbca\xff', 'latin1')),
    'a pattern of bytes fits a name of bytes',
  )
  t.notOk(globMatcher('*\udcff', false)(Buffer.from([0xfe])))
  t.ok(fits('\ufffd', '\ufffd'), 'a character that others put in the place of bytes')
})

t.test('globMatcher() takes no longer than pattern times name', { timeout: 120_000 }, async (t) => {
  t.notOk(fits('*a'.repeat(100) + 'b', 'a'.repeat(4000)), 'an exponential matcher would never end')
})

t.test('a literal pattern fits itself alone', async () => {
  const plain = fc.string().filter((text) => !/[*?[\\\ufffd]/.test(text))
  fc.assert(fc.property(plain, plain, (a, b) => fits(a, b) === (a === b)))
})
