/** acl(5) as tars have it, `SCHILY.acl.access`: "user::rwx,user:1000:r--"; as the kernel has it, `system.posix_acl_access`: 8 bytes an entry. */

const VERSION = 2
const HEADER_BYTES = 4
const ENTRY_BYTES = 8
const UNNAMED = 0xffff_ffff
/** Without and with a name, as in the kernel's `posix_acl.h`. */
const TAGS: Readonly<Record<string, readonly [number, number]>> = {
  user: [0x01, 0x02],
  group: [0x04, 0x08],
  mask: [0x10, 0x10],
  other: [0x20, 0x20],
}
const WORDS = new Map(
  Object.entries(TAGS).flatMap(([word, [bare, named]]) => [[bare, word] as const, [named, word] as const]),
)

/** Undefined where it is none. */
export function aclText(value: Buffer): string | undefined {
  if (value.length < HEADER_BYTES || value.readUInt32LE(0) !== VERSION) return undefined
  if ((value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) return undefined
  const lines: string[] = []
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    const tag = value.readUInt16LE(at)
    const word = WORDS.get(tag)
    if (word === undefined) return undefined
    const bits = value.readUInt16LE(at + 2)
    const isNamed = tag === TAGS['user']?.[1] || tag === TAGS['group']?.[1]
    const id = isNamed ? String(value.readUInt32LE(at + 4)) : ''
    const letters = ['r', 'w', 'x'].map((letter, nth) => (((bits >> (2 - nth)) & 1) === 1 ? letter : '-'))
    lines.push(`${word}:${id}:${letters.join('')}`)
  }
  return lines.join('\n')
}

/** What the text says, users and groups by number: star and GNU tar write it behind the permissions. Undefined where one is missing. */
export function aclValue(text: string): Buffer | undefined {
  const entries: (readonly [tag: number, bits: number, id: number])[] = []
  for (const line of text.split(/[\n,]/)) {
    const bare = line.replace(/\s*#.*$/, '').trim()
    if (bare === '') continue
    const [, word = '', name = '', letters = '', number] =
      /^(user|group|mask|other|u|g|m|o):([^:]*):([r-][w-][x-])(?::(\d+))?$/.exec(bare) ?? []
    const tags = TAGS[LONG[word] ?? word]
    if (tags === undefined) return undefined
    const id = name === '' ? UNNAMED : Number(number ?? (/^\d+$/.test(name) ? name : Number.NaN))
    if (!(id <= UNNAMED)) return undefined
    const bits = letters.split('').reduce((sum, letter) => sum * 2 + (letter === '-' ? 0 : 1), 0)
    entries.push([tags[name === '' ? 0 : 1], bits, id])
  }
  if (entries.length === 0) return undefined
  entries.sort(([tagA, , idA], [tagB, , idB]) => tagA - tagB || idA - idB)
  const value = Buffer.alloc(HEADER_BYTES + entries.length * ENTRY_BYTES)
  value.writeUInt32LE(VERSION, 0)
  entries.forEach(([tag, bits, id], nth) => {
    const at = HEADER_BYTES + nth * ENTRY_BYTES
    value.writeUInt16LE(tag, at)
    value.writeUInt16LE(bits, at + 2)
    value.writeUInt32LE(id, at + 4)
  })
  return value
}

const LONG: Readonly<Record<string, string>> = { u: 'user', g: 'group', m: 'mask', o: 'other' }
