import { invariant } from '../base/index.ts'

/**
 * The index file, byte by byte: `docs/index-layout.md`. All numbers are little-endian.
 * The layout may change with its version; the numbering of rows (node ids, which kernels keep) may not.
 */
export const LAYOUT_VERSION = 1

/** Bytes every section's offset is a multiple of: a cache line, and enough for any typed array. */
export const SECTION_ALIGNMENT = 64

export const HEADER = {
  size: 512,
  magic: 0 /* 8 bytes, MAGIC */,
  layout: 8 /* u32, LAYOUT_VERSION */,
  flags: 12 /* u32, FLAG */,
  digest: 16 /* 32 bytes, SHA-256 of the archive */,
  format: 48 /* u32, FORMAT */,
  hashBytes: 52 /* u32, 16 or 32 */,
  rowCount: 56 /* u32 */,
  inodeCount: 60 /* u32 */,
  blockCount: 64 /* u32 */,
  bodyCrc: 68 /* u32, CRC-32 of the bytes after the header */,
  contentBytes: 72 /* u64, below 2^53 */,
  fileBytes: 80 /* u64, bytes of the whole file */,
  sections: 88 /* SECTIONS times { offset u64, bytes u64 }, then zeros */,
  headerCrc: 508 /* u32, CRC-32 of the header's bytes before it */,
} as const

export const MAGIC = Buffer.from('FLISTIDX', 'latin1')

export const FORMAT = { fl: 1, v1: 2 } as const

export const FLAG = { hasXattrs: 1, hasAcls: 2, hasLinks: 4 } as const

/** Bytes of one entry of the section table: u64 offset, u64 bytes. */
export const SECTION_ENTRY_BYTES = 16

/** What a section's length is a multiple of: rows, rows and one more, block references, or free. */
type Counted = 'rows' | 'rows+1' | 'blocks' | 'free'

export interface SectionLayout {
  readonly name: string
  /** Bytes of one element. */
  readonly bytes: number
  readonly counted: Counted
  /** May be empty although there are rows. */
  readonly optional: boolean
}

function section<const Name extends string>(name: Name, bytes: number, counted: Counted, optional = false) {
  return { name, bytes, counted, optional } as const
}

/** In the order in which they lie in the file. `ids` and `keys` have `hashBytes` bytes an element. */
export const SECTIONS = [
  section('names', 1, 'free') /* names in row order, then targets of symbolic links */,
  section('nameAt', 4, 'rows+1') /* u32 */,
  section('parent', 4, 'rows') /* u32 row */,
  section('leader', 4, 'rows') /* u32 row */,
  section('mode', 2, 'rows') /* u16 st_mode */,
  section('owner', 4, 'rows') /* u32 index of a pair in owners */,
  section('owners', 8, 'free') /* u32 uid, u32 gid */,
  section('nlink', 4, 'rows') /* u32 */,
  section('size', 8, 'rows') /* f64, exact integer */,
  section('mtime', 8, 'rows') /* i64 seconds */,
  section('ctime', 8, 'rows') /* i64 seconds */,
  section('mtimeNs', 4, 'rows', true) /* u32 nanoseconds, absent when all are 0 */,
  section('ctimeNs', 4, 'rows', true) /* u32 nanoseconds, absent when all are 0 */,
  section('first', 4, 'rows') /* u32: see docs */,
  section('count', 4, 'rows') /* u32: see docs */,
  section('ids', 0, 'blocks') /* hashBytes each */,
  section('keys', 0, 'blocks') /* hashBytes each */,
  section('xattrAt', 4, 'rows+1', true) /* u32 index into xattrEntries */,
  section('xattrEntries', 16, 'free', true) /* u32 name offset, name bytes, value offset, value bytes; in xattrBytes */,
  section('xattrBytes', 1, 'free', true),
  section('json', 1, 'free') /* UTF-8: { "routes": [...], "tags": {...} } */,
] as const satisfies readonly SectionLayout[]

export type SectionName = (typeof SECTIONS)[number]['name']

/** Where a section's entry lies in the header. */
export function sectionEntryAt(index: number): number {
  return HEADER.sections + index * SECTION_ENTRY_BYTES
}

/** Bytes a section must have, or undefined where its contents decide. */
export function sectionBytes(
  layout: SectionLayout,
  rows: number,
  blocks: number,
  hashBytes: number,
): number | undefined {
  if (layout.counted === 'rows') return rows * layout.bytes
  if (layout.counted === 'rows+1') return (rows + 1) * layout.bytes
  if (layout.counted === 'blocks') return blocks * hashBytes
  return undefined
}

export function aligned(offset: number): number {
  return Math.ceil(offset / SECTION_ALIGNMENT) * SECTION_ALIGNMENT
}

invariant(sectionEntryAt(SECTIONS.length) <= HEADER.headerCrc, 'the section table fits the header')
invariant(HEADER.size % SECTION_ALIGNMENT === 0, 'the body begins aligned')
invariant(HEADER.headerCrc + 4 === HEADER.size, 'the CRC ends the header')
invariant(MAGIC.length === HEADER.layout, 'the magic comes before the layout version')
