import fc from 'fast-check'
import t from 'tap'
import { displayBytes, displayText, shownPath, wordBytes, wordOf } from '../../lib/base/index.ts'

t.test('displayBytes() shows what a terminal would obey, and what is no text', async (t) => {
  t.equal(displayBytes(Buffer.from('grün/名')), 'grün/名')
  t.equal(displayBytes(Buffer.from('a\n\x1b[31m\x7f')), String.raw`a\x0a\x1b[31m\x7f`)
  t.equal(displayBytes(Buffer.from('\u009b31m')), String.raw`\xc2\x9b31m`, 'the control characters of C1')
  t.equal(displayBytes(Buffer.from([0x61, 0xff, 0x9b])), String.raw`a\xff\x9b`)
})

t.test('displayText() keeps lines and tabs, and nothing else that a terminal would obey', async (t) => {
  t.equal(displayText('a\tgrün\n名\n'), 'a\tgrün\n名\n')
  t.equal(displayText('\x1b]0;x\x07\r\0\u009b31m'), String.raw`\x1b]0;x\x07\x0d\x00\xc2\x9b31m`)
})

t.test('wordOf() keeps all bytes of a word, and what is text is that text', async (t) => {
  t.equal(wordOf(Buffer.from('grün/名\u{1f600}\ufffd')), 'grün/名\u{1f600}\ufffd')
  const mixed = Buffer.from('caf\xe9/gr\xc3\xbcn\xf0\x9f\x98\x80\xff\xc3', 'latin1')
  t.equal(wordOf(mixed), 'caf\udce9/grün\u{1f600}\udcff\udcc3')
  t.equal(displayText(wordOf(mixed)), String.raw`caf\xe9/grün`.concat('\u{1f600}', String.raw`\xff\xc3`))
  const pieces = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
    ),
  )
  fc.assert(
    fc.property(pieces, (all) => {
      const bytes = Buffer.concat(all)
      return wordBytes(wordOf(bytes)).equals(bytes) && wordOf(wordBytes(wordOf(bytes))) === wordOf(bytes)
    }),
  )
})

t.test('shownPath() has the bytes where it shows others', async (t) => {
  t.strictSame(shownPath(Buffer.from(String.raw`grün\xff`)), { path: String.raw`grün\xff` })
  t.strictSame(shownPath(Buffer.from([0x61, 0xff])), { path: String.raw`a\xff`, pathHex: '61ff' })
  t.strictSame(shownPath(Buffer.from('a\n')), { path: String.raw`a\x0a`, pathHex: '610a' })
})
