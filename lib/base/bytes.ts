import { isUtf8 } from 'node:buffer'

/** A name or path for a person: UTF-8 where it is, `\xNN` for other bytes and for control characters. */
export function displayBytes(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // A character of text that was not UTF-8 shows as U+FFFD: then each byte is shown alone.
  const decoded = text.toString('utf8')
  if (!decoded.includes('\ufffd')) return decoded.replace(CONTROL, escaped)
  let out = ''
  for (const byte of text) out += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : escapeByte(byte)
  return out
}

/** A path as JSON has it: `displayBytes`, and the bytes in hex where that shows others. */
export function shownPath(bytes: Buffer): { readonly path: string; readonly pathHex?: string } {
  const path = displayBytes(bytes)
  return bytes.equals(Buffer.from(path)) ? { path } : { path, pathHex: bytes.toString('hex') }
}

/** A text for a person that may hold what others wrote: its lines and tabs stay, other control characters are `\xNN`, so no terminal obeys them. */
export function displayText(text: string): string {
  return text.replace(CONTROL, (char) => (char === '\n' || char === '\t' ? char : escaped(char)))
}

/** C1 too: U+009B begins what ESC [ does. And what `wordOf` makes of bytes that are no text. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\0-\x1f\x7f-\x9f\udc80-\udcff]/gu

function escaped(char: string): string {
  return Array.from(wordBytes(char), escapeByte).join('')
}

function escapeByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
}

/** Half a pair of UTF-16 behind nothing, which no text has: U+DC80 to U+DCFF stand for the bytes 0x80 to 0xff. */
const BYTE = 0xdc00

/** A word as text, whatever its bytes are: those that are not UTF-8 are a `BYTE` each. `wordBytes` gives them back. */
export function wordOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString()
  let word = ''
  for (let at = 0; at < bytes.length;) {
    const length = [1, 2, 3, 4].find((count) => isUtf8(bytes.subarray(at, at + count)))
    word +=
      length === undefined ? String.fromCharCode(BYTE + bytes.readUInt8(at)) : bytes.toString('utf8', at, at + length)
    at += length ?? 1
  }
  return word
}

export function wordBytes(word: string): Buffer {
  if (word.isWellFormed()) return Buffer.from(word)
  const chars = Array.from(word, (char) =>
    char.isWellFormed() ? Buffer.from(char) : Buffer.of(char.charCodeAt(0) - BYTE),
  )
  return Buffer.concat(chars)
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** `1.5 MiB` for 1572864. */
export function displaySize(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit] ?? 'B'}`
}
