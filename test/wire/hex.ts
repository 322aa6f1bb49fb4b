import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** Requests as Linux 6.18 sent them, one field a line; `capture.ts` writes them. */
export const FIXTURES = resolve(import.meta.dirname, '../../fixtures/wire')

/** One line: bytes, and what they are. */
export interface Field {
  readonly bytes: Buffer
  readonly note: string
}

/** `41 00 00 00  # len 65`, in file order. Lines that start with `#` are comments. */
export function parseHex(text: string): Field[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [hex = '', note = ''] = line.split(' # ')
      if (!/^([0-9a-f]{2}\s*)+$/.test(hex)) throw new SyntaxError(`no bytes: ${line}`)
      return { bytes: Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'), note: note.trim() }
    })
}

export function readFrame(name: string): { frame: Buffer; fields: Field[] } {
  const fields = parseHex(readFileSync(join(FIXTURES, `${name}.hex`), 'latin1'))
  return { frame: Buffer.concat(fields.map(({ bytes }) => bytes)), fields }
}

export function writeHex(name: string, head: readonly string[], fields: readonly Field[]): void {
  const lines = fields.map(({ bytes, note }) => {
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    return `${hex.padEnd(24)} # ${note}`
  })
  writeFileSync(join(FIXTURES, `${name}.hex`), [...head.map((line) => `# ${line}`), ...lines, ''].join('\n'))
}
