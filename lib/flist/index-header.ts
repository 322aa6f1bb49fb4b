import { FlistError, LIMITS } from '../base/index.ts'
import { headerCrc } from './header-crc.ts'
import {
  FORMAT,
  HEADER,
  LAYOUT_VERSION,
  MAGIC,
  SECTION_ALIGNMENT,
  SECTIONS,
  sectionBytes,
  sectionEntryAt,
} from './layout.ts'
import type { SectionLayout, SectionName } from './layout.ts'

export interface Span {
  readonly offset: number
  readonly bytes: number
}

export interface IndexHeader {
  readonly digest: string
  readonly format: 'fl' | 'v1'
  readonly hashBytes: 16 | 32
  readonly rowCount: number
  readonly inodeCount: number
  readonly blockCount: number
  readonly contentBytes: number
  readonly fileBytes: number
  readonly flags: number
  readonly bodyCrc: number
  readonly spans: Readonly<Record<SectionName, Span>>
}

export function indexDamaged(path: string, why: string, cause?: unknown): FlistError {
  return new FlistError('FLIST_INDEX_DAMAGED', `Cannot use the index "${path}": ${why}`, {
    hint: 'Remove it: it is made again from the archive',
    cause,
  })
}

/** Reads and checks everything a header says: its own checksum, bounds, alignment and lengths of all sections. */
export function readHeader(header: Buffer, fileBytes: number, path: string): IndexHeader {
  const fail = (why: string): never => {
    throw indexDamaged(path, why)
  }
  if (header.length < HEADER.size) fail('it is shorter than its header')
  if (!header.subarray(HEADER.magic, HEADER.magic + MAGIC.length).equals(MAGIC)) fail('it is no index')
  const layout = header.readUInt32LE(HEADER.layout)
  if (layout !== LAYOUT_VERSION) fail(`its layout is ${layout}, wanted ${LAYOUT_VERSION}`)
  if (headerCrc(header.subarray(0, HEADER.headerCrc)) !== header.readUInt32LE(HEADER.headerCrc)) {
    fail('its header does not match its checksum')
  }
  const format = header.readUInt32LE(HEADER.format)
  const hashBytes = header.readUInt32LE(HEADER.hashBytes)
  const rowCount = header.readUInt32LE(HEADER.rowCount)
  const inodeCount = header.readUInt32LE(HEADER.inodeCount)
  const blockCount = header.readUInt32LE(HEADER.blockCount)
  if (format !== FORMAT.fl && format !== FORMAT.v1) fail(`its format is ${format}`)
  if (rowCount < 1 || rowCount > LIMITS.entriesMax || inodeCount < 1 || inodeCount > rowCount) {
    fail(`it has ${rowCount} rows and ${inodeCount} inodes`)
  }
  if (blockCount > LIMITS.blocksMax) fail(`it has ${blockCount} blocks`)
  if (header.readBigUInt64LE(HEADER.fileBytes) !== BigInt(fileBytes)) fail('it is not as long as it says')
  return {
    digest: header.toString('hex', HEADER.digest, HEADER.digest + 32),
    format: format === FORMAT.fl ? 'fl' : 'v1',
    hashBytes: hashBytes === 16 || hashBytes === 32 ? hashBytes : fail(`its hashes have ${hashBytes} bytes`),
    rowCount,
    inodeCount,
    blockCount,
    contentBytes: safeU64(header, HEADER.contentBytes) ?? fail('its content has 2^53 bytes and more'),
    fileBytes,
    flags: header.readUInt32LE(HEADER.flags),
    bodyCrc: header.readUInt32LE(HEADER.bodyCrc),
    spans: readSpans(header, { rowCount, blockCount, hashBytes, fileBytes }, fail),
  }
}

function readSpans(
  header: Buffer,
  counts: { rowCount: number; blockCount: number; hashBytes: number; fileBytes: number },
  fail: (why: string) => never,
): Record<SectionName, Span> {
  const spans: Partial<Record<SectionName, Span>> = {}
  let end: number = HEADER.size
  for (const [index, layout] of SECTIONS.entries()) {
    const at = sectionEntryAt(index)
    const offset = safeU64(header, at) ?? fail(`section ${layout.name} lies beyond 2^53`)
    const bytes = safeU64(header, at + 8) ?? fail(`section ${layout.name} is longer than 2^53`)
    if (offset % SECTION_ALIGNMENT !== 0) fail(`section ${layout.name} is not aligned`)
    if (offset < end || offset + bytes > counts.fileBytes) fail(`section ${layout.name} is out of bounds`)
    if (!hasRightLength(layout, bytes, counts)) fail(`section ${layout.name} has ${bytes} bytes`)
    spans[layout.name] = { offset, bytes }
    end = offset + bytes
  }
  return spans as Record<SectionName, Span>
}

function hasRightLength(
  layout: SectionLayout,
  bytes: number,
  counts: { rowCount: number; blockCount: number; hashBytes: number },
): boolean {
  if (layout.optional && bytes === 0) return true
  const expected = sectionBytes(layout, counts.rowCount, counts.blockCount, counts.hashBytes)
  return expected === undefined ? bytes % layout.bytes === 0 : bytes === expected
}

function safeU64(header: Buffer, at: number): number | undefined {
  const value = Number(header.readBigUInt64LE(at))
  return Number.isSafeInteger(value) ? value : undefined
}
