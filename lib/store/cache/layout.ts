/** The cache's files; byte by byte in `docs/cache-layout.md`. The layout's version is in the path and in the database. */
export const CACHE_LAYOUT = {
  version: 1,
  /** `application_id` of `cache.db`: "flst". */
  applicationId: 0x666c7374,
  folder: 'v1',
  database: 'cache.db',
  segments: 'segments',
  /** Every block in a shared segment begins at a multiple of this. */
  alignBytes: 64,
  /** Blocks of a segment of its own lie at multiples of this. */
  placeBytes: 512 * 1024,
} as const

/** Where a block's plain bytes lie. Valid as long as the segment's file exists: ids are never used again. */
export interface Location {
  /** Below 2^32. */
  readonly segment: number
  readonly offset: number
  readonly bytes: number
}

/** A block that the cache has. */
export interface Found extends Location {
  /** Its plain bytes where the cache checks each block each time: what was checked is what is read. */
  readonly content?: Buffer
}

/** Where a block belongs in a large file's own segment. */
export interface Place {
  /** Names the file for all processes: the archive's digest and the row. */
  readonly file: string
  /** Block index times 512 KiB. */
  readonly offset: number
  readonly fileBytes: number
}

/** `<cacheDir>/v1/segments/3f/1087.seg`. Pure: the session thread opens segments by it. */
export function segmentPath(cacheDir: string, segment: number): string {
  const folder = (segment % 256).toString(16).padStart(2, '0')
  return `${cacheDir}/${CACHE_LAYOUT.folder}/${CACHE_LAYOUT.segments}/${folder}/${segment}.seg`
}

export function databasePath(cacheDir: string): string {
  return `${cacheDir}/${CACHE_LAYOUT.folder}/${CACHE_LAYOUT.database}`
}

export function alignUp(offset: number): number {
  return Math.ceil(offset / CACHE_LAYOUT.alignBytes) * CACHE_LAYOUT.alignBytes
}

/** Whether `bytes` may lie at a place at all. */
export function fits(place: Place, bytes: number): boolean {
  return place.offset % CACHE_LAYOUT.placeBytes === 0 && place.offset + bytes <= place.fileBytes
}

/** Whether a location could be one at all: a damaged row may say anything. */
export function isPossible({ segment, offset, bytes }: Location): boolean {
  if (!Number.isSafeInteger(segment) || !Number.isSafeInteger(offset)) return false
  return segment > 0 && offset >= 0 && bytes >= 1 && bytes <= CACHE_LAYOUT.placeBytes
}
