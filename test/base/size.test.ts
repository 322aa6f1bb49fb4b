import fc from 'fast-check'
import t from 'tap'
import { parseSize } from '../../lib/base/index.ts'

void t.test('parseSize() reads sizes with and without units', (t) => {
  const cases: [string, number][] = [
    ['0', 0],
    ['4096', 4096],
    ['1K', 1024],
    ['512MiB', 512 * 1024 ** 2],
    ['10G', 10 * 1024 ** 3],
    ['10gb', 10 * 1024 ** 3],
    [' 1.5 T ', 1.5 * 1024 ** 4],
    ['7B', 7],
    ['1P', 1024 ** 5],
  ]
  for (const [text, bytes] of cases) t.equal(parseSize(text), bytes, text)
  t.end()
})

void t.test('parseSize() refuses everything else with FLIST_USAGE', (t) => {
  for (const text of [
    '',
    'G',
    '-1',
    '1e9',
    '10 GG',
    '0x10',
    '1.G',
    '9007199254740993',
    '9P9',
    '8192P',
    'Infinity',
    '1 0',
  ]) {
    t.throws(() => parseSize(text), { code: 'FLIST_USAGE' }, text)
  }
  t.end()
})

void t.test('parseSize() is exact for whole bytes', (t) => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => parseSize(String(bytes)) === bytes))
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        return Number.isSafeInteger(parseSize(text))
      } catch (error) {
        return error instanceof Error && error.name === 'FlistError'
      }
    }),
  )
  t.end()
})
