import t from 'tap'
import { displayBytes, displayText } from '../../lib/base/index.ts'

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
