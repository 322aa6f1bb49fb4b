import { invariant, LIMITS } from '../../base/index.ts'
import { imageDamaged, imageLimit } from '../image-error.ts'
import type { ByteReader } from './byte-reader.ts'
import { decimal, type PaxSparse } from './pax-records.ts'
import type { SparseRange } from './tar-entry.ts'
import { field, numberOf, TAR_BLOCK_BYTES, TAR_FIELD } from './tar-header.ts'

const RANGE_BYTES = 24
const NUMBER_BYTES = 12
const NEWLINE = 0x0a
/** Bytes of the longest line of a 1.0 map: a number below 2^53 and the end. */
const LINE_BYTES_MAX = 20

export interface SparseMap {
  readonly ranges: SparseRange[]
  /** Bytes of the file with its holes. */
  readonly size: number
}

/** GNU tar's first format (type "S"): four ranges in the header, then blocks of 21 more. */
export async function readOldGnuMap(header: Buffer, bytes: ByteReader, where: string): Promise<SparseMap> {
  const ranges: SparseRange[] = []
  addRanges(ranges, field(header, TAR_FIELD.sparse), where)
  let more = header[TAR_FIELD.sparseMore[0]] !== 0
  while (more) {
    const block = await bytes.read(TAR_BLOCK_BYTES)
    if (block.length < TAR_BLOCK_BYTES) throw imageDamaged(where, 'its tar ends within the map of a sparse file')
    addRanges(ranges, field(block, TAR_FIELD.moreRanges), where)
    more = block[TAR_FIELD.moreMore[0]] !== 0
  }
  return { ranges, size: numberOf(field(header, TAR_FIELD.sparseSize), 'size', where) }
}

function addRanges(ranges: SparseRange[], bytes: Buffer, where: string): void {
  for (let at = 0; at + RANGE_BYTES <= bytes.length; at += RANGE_BYTES) {
    if (bytes[at] === 0) return
    const offset = numberOf(bytes.subarray(at, at + NUMBER_BYTES), 'offset', where)
    const size = numberOf(bytes.subarray(at + NUMBER_BYTES, at + RANGE_BYTES), 'size', where)
    pushRange(ranges, { offset, size }, where)
  }
}

function pushRange(ranges: SparseRange[], range: SparseRange, where: string): void {
  if (ranges.length >= LIMITS.sparseRangesMax) {
    throw imageLimit(where, `a sparse file has more than ${LIMITS.sparseRangesMax} ranges`)
  }
  ranges.push(range)
}

/** Format 1.0: the map stands before the data, a decimal number a line, filled up to whole blocks. */
export async function readPaxMap(bytes: ByteReader, where: string): Promise<{ ranges: SparseRange[]; read: number }> {
  let rest: Buffer = Buffer.alloc(0)
  let read = 0
  const line = async (): Promise<number> => {
    for (;;) {
      const end = rest.indexOf(NEWLINE)
      if (end >= 0) {
        const number = decimal(rest.toString('latin1', 0, end))
        if (Number.isNaN(number)) throw imageDamaged(where, 'the map of a sparse file in its tar has no number')
        rest = rest.subarray(end + 1)
        return number
      }
      if (rest.length > LINE_BYTES_MAX) throw imageDamaged(where, 'the map of a sparse file in its tar has no lines')
      const block = await bytes.read(TAR_BLOCK_BYTES)
      if (block.length < TAR_BLOCK_BYTES) throw imageDamaged(where, 'its tar ends within the map of a sparse file')
      read += TAR_BLOCK_BYTES
      rest = rest.length === 0 ? block : Buffer.concat([rest, block])
    }
  }
  const ranges: SparseRange[] = []
  for (let left = await line(); left > 0; left -= 1) {
    const offset = await line()
    pushRange(ranges, { offset, size: await line() }, where)
  }
  return { ranges, read }
}

/** What the records of formats 0.0, 0.1 and 1.0 say, or undefined where the file is not sparse. 1.0: `ranges` come with the data. */
export function paxSparseFormat(sparse: PaxSparse, where: string): 'records' | 'data' | undefined {
  const { major, minor, ranges, offset, count } = sparse
  if (offset !== undefined) throw imageDamaged(where, 'the map of a sparse file in its tar is torn')
  if (major === 1 && minor === 0) return 'data'
  if (major !== undefined && major !== 0) throw imageDamaged(where, `sparse format ${major}.${minor ?? 0} is unknown`)
  if (ranges === undefined && sparse.size === undefined) return undefined
  if ((ranges?.length ?? 0) > LIMITS.sparseRangesMax) throw imageLimit(where, 'a sparse file has too many ranges')
  if (count !== undefined && count !== (ranges?.length ?? 0)) {
    throw imageDamaged(where, 'the map of a sparse file in its tar has another length than said')
  }
  return 'records'
}

/** Ranges in order, none over another, within the file, and together as long as the data. Empty ones are left out. */
export function checkMap(map: SparseMap, dataBytes: number, where: string): SparseRange[] {
  // Numbers in base 256 have a sign.
  if (map.size < 0) throw imageDamaged(where, 'its size is negative')
  let end = 0
  let sum = 0
  for (const { offset, size } of map.ranges) {
    if (offset < end || size < 0 || offset + size > map.size || !Number.isSafeInteger(offset + size)) {
      throw imageDamaged(where, 'the map of a sparse file in its tar is out of order')
    }
    end = offset + size
    sum += size
  }
  if (sum !== dataBytes) throw imageDamaged(where, 'the map of a sparse file in its tar does not fit its data')
  return map.ranges.filter(({ size }) => size > 0)
}

/** The map of format 1.0 that stands before the data of a file of `size` bytes, whole blocks of it. */
export function sparseMapBytes(ranges: readonly SparseRange[], size: number): Buffer {
  const last = ranges.at(-1)
  // A hole at the end: an empty range says where the file ends.
  const all = last !== undefined && last.offset + last.size === size ? ranges : [...ranges, { offset: size, size: 0 }]
  const numbers = [all.length, ...all.flatMap((range) => [range.offset, range.size])]
  const text = numbers.map((number) => `${number}\n`).join('')
  invariant(all.length <= LIMITS.sparseRangesMax, 'the map can be read again')
  const bytes = Buffer.alloc(Math.ceil(text.length / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES)
  bytes.write(text, 'latin1')
  return bytes
}
