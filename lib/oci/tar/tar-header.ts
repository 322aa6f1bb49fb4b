import { imageDamaged } from '../image-error.ts'

export const TAR_BLOCK_BYTES = 512

/**
 * Fields of a tar header block: offset and bytes. POSIX.1-2001 `pax` (ustar); GNU tar `src/tar.h` (`oldgnu_header`, `star_header`).
 */
export const TAR_FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  target: [157, 100],
  magic: [257, 8],
  major: [329, 8],
  minor: [337, 8],
  /** ustar; star has 131 bytes there and "tar" at the end of the block. */
  prefix: [345, 155],
  starPrefix: [345, 131],
  starTrailer: [508, 4],
  /** GNU: four ranges of 12 and 12 bytes, whether more blocks of them follow, the size with holes. */
  sparse: [386, 96],
  sparseMore: [482, 1],
  sparseSize: [483, 12],
  /** A further block of ranges: 21 of them, then whether another one follows. */
  moreRanges: [0, 504],
  moreMore: [504, 1],
} as const satisfies Record<string, readonly [number, number]>

export const USTAR_MAGIC = Buffer.from('ustar\x0000', 'latin1')
const GNU_MAGIC = Buffer.from('ustar  \x00', 'latin1')
const STAR_TRAILER = Buffer.from('tar\x00', 'latin1')

/** One header block as it stands there. */
export interface RawHeader {
  readonly block: Buffer
  readonly isGnu: boolean
  /** The type flag, "\0" as "\0". */
  readonly type: string
  readonly name: Buffer
  readonly target: Buffer
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly mtime: number
  readonly major: number
  readonly minor: number
}

/** Throws FLIST_IMAGE_DAMAGED. `where` names the tar. */
export function parseHeader(block: Buffer, where: string): RawHeader {
  if (!hasRightSum(block)) throw imageDamaged(where, 'a header of its tar has a wrong checksum')
  const magic = field(block, TAR_FIELD.magic)
  const isGnu = magic.equals(GNU_MAGIC)
  const isUstar = !isGnu && magic.subarray(0, 5).equals(USTAR_MAGIC.subarray(0, 5))
  const number = (name: keyof typeof TAR_FIELD): number => numberOf(field(block, TAR_FIELD[name]), name, where)
  const hasDevice = isGnu || isUstar
  return {
    block,
    isGnu,
    type: String.fromCharCode(block[TAR_FIELD.type[0]] ?? 0),
    name: isUstar ? prefixed(block) : text(field(block, TAR_FIELD.name)),
    target: text(field(block, TAR_FIELD.target)),
    mode: number('mode') & 0o7777,
    uid: number('uid'),
    gid: number('gid'),
    size: number('size'),
    mtime: number('mtime'),
    major: hasDevice ? number('major') : 0,
    minor: hasDevice ? number('minor') : 0,
  }
}

function prefixed(block: Buffer): Buffer {
  const isStar = field(block, TAR_FIELD.starTrailer).equals(STAR_TRAILER)
  const prefix = text(field(block, isStar ? TAR_FIELD.starPrefix : TAR_FIELD.prefix))
  const name = text(field(block, TAR_FIELD.name))
  return prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name])
}

export function field(block: Buffer, [at, bytes]: readonly [number, number]): Buffer {
  return block.subarray(at, at + bytes)
}

/** Up to the first NUL. */
function text(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0)
  return end < 0 ? bytes : bytes.subarray(0, end)
}

/** The sum of all bytes, those of the checksum as blanks. Some old programs summed signed bytes. */
function hasRightSum(block: Buffer): boolean {
  const said = octal(field(block, TAR_FIELD.checksum))
  return said === sumOf(block) || said === signedSumOf(block)
}

const [SUM_AT, SUM_BYTES] = TAR_FIELD.checksum
const BLANK = 0x20

function sumOf(block: Buffer): number {
  let sum = BLANK * SUM_BYTES
  for (let at = 0; at < SUM_AT; at += 1) sum += block[at] ?? 0
  for (let at = SUM_AT + SUM_BYTES; at < TAR_BLOCK_BYTES; at += 1) sum += block[at] ?? 0
  return sum
}

function signedSumOf(block: Buffer): number {
  return (
    sumOf(block) -
    256 *
      block.reduce((count, byte, at) => count + (byte > 127 && (at < SUM_AT || at >= SUM_AT + SUM_BYTES) ? 1 : 0), 0)
  )
}

/** Octal digits, or base 256 where the first bit is set (two's complement). Throws FLIST_IMAGE_DAMAGED. */
export function numberOf(bytes: Buffer, name: string, where: string): number {
  const first = bytes[0] ?? 0
  const value = (first & 0x80) === 0 ? octal(bytes) : base256(bytes, first)
  if (value === undefined) throw imageDamaged(where, `the ${name} in a header of its tar is no number`)
  return value
}

/** Blanks and NULs around the digits; nothing is 0. */
function octal(bytes: Buffer): number | undefined {
  let at = 0
  while (at < bytes.length && (bytes[at] === BLANK || bytes[at] === 0)) at += 1
  let value = 0
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0
    if (byte === BLANK || byte === 0) break
    if (byte < DIGIT_0 || byte > DIGIT_7) return undefined
    value = value * 8 + byte - DIGIT_0
  }
  return value
}

const DIGIT_0 = 0x30
const DIGIT_7 = 0x37

function base256(bytes: Buffer, first: number): number | undefined {
  // The first bit says that it is base 256, the next one is the sign.
  let value = BigInt(first & 0x7f)
  for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte)
  value = BigInt.asIntN(bytes.length * 8 - 1, value)
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : undefined
}
