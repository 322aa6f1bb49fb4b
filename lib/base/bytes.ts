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

/** A text for a person that may hold what others wrote: its lines and tabs stay, other control characters are `\xNN`, so no terminal obeys them. */
export function displayText(text: string): string {
  return text.replace(CONTROL, (char) => (char === '\n' || char === '\t' ? char : escaped(char)))
}

/** C1 too: U+009B begins what ESC [ does. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\0-\x1f\x7f-\x9f]/g

function escaped(char: string): string {
  return Array.from(Buffer.from(char), escapeByte).join('')
}

function escapeByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
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
