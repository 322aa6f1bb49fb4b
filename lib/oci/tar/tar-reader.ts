import { displayBytes, LIMITS } from '../../base/index.ts'
import { imageDamaged, imageLimit } from '../image-error.ts'
import { ByteReader } from './byte-reader.ts'
import { addPaxRecords, noRecords, type PaxRecords } from './pax-records.ts'
import { checkMap, paxSparseFormat, readOldGnuMap, readPaxMap } from './sparse-map.ts'
import type { SparseRange, TarEntry, TarType } from './tar-entry.ts'
import { parseHeader, type RawHeader, TAR_BLOCK_BYTES } from './tar-header.ts'

/** Bytes of a hole that are given at once. */
const HOLE_BYTES = 256 * 1024
const HOLE = Buffer.alloc(HOLE_BYTES)
/** Bytes of data that are given at most at once. */
const PIECE_BYTES_MAX = 1024 * 1024

const TYPES: Readonly<Record<string, TarType>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
}

export interface TarReaderOptions {
  /** Names the tar in messages: `layer 2`. */
  readonly where: string
  /** What global pax headers say holds for all that follows, as POSIX has it; container programs do not heed them. */
  readonly globals?: boolean
}

/**
 * Reads a tar stream: ustar, pax, GNU, star and v7 headers, long names, sparse files of every format. Names stay bytes.
 * Throws FLIST_IMAGE_DAMAGED and FLIST_LIMIT.
 */
export class TarReader {
  readonly #bytes: ByteReader
  readonly #where: string
  readonly #globals: PaxRecords | undefined
  #globalBytes = 0
  /** Bytes of data, and then of padding, of the entry given last that were not read. */
  #data = 0
  #padding = 0
  #entry: TarEntry | undefined
  #ended = false

  constructor(source: AsyncIterable<Uint8Array>, options: TarReaderOptions) {
    this.#bytes = new ByteReader(source)
    this.#where = options.where
    this.#globals = options.globals === true ? noRecords() : undefined
  }

  /** The next entry; what was not read of the one before is skipped. Undefined at the end of the archive. */
  async next(): Promise<TarEntry | undefined> {
    await this.#skipRest()
    const extras: Extras = { records: this.#fresh(), name: undefined, target: undefined, bytes: 0, isDue: false }
    for (;;) {
      const header = await this.#header()
      if (header === undefined) {
        if (extras.isDue) throw imageDamaged(this.#where, 'its tar ends after an extension header')
        return undefined
      }
      if (await this.#extension(header, extras)) continue
      this.#entry = await this.#entryOf(header, extras)
      return this.#entry
    }
  }

  /** Where the data of the entry given last begins in the archive, for an archive that lies in a file. */
  get dataOffset(): number {
    return this.#bytes.consumed
  }

  /** The content of the entry given last, holes as zeros. To be read once, before `next`. */
  async *content(): AsyncGenerator<Buffer, void, undefined> {
    const entry = this.#entry
    if (entry === undefined || entry.type !== 'file') return
    const ranges = entry.sparse ?? (entry.size > 0 ? [{ offset: 0, size: entry.size }] : [])
    let at = 0
    for (const { offset, size } of ranges) {
      yield* holes(offset - at)
      for (let left = size; left > 0;) {
        const piece = await this.#some(Math.min(left, PIECE_BYTES_MAX))
        left -= piece.length
        yield piece
      }
      at = offset + size
    }
    yield* holes(entry.size - at)
  }

  /** Reads whatever stands behind the archive's end, so that all of the stream was seen. */
  async drain(): Promise<void> {
    while ((await this.#bytes.some(PIECE_BYTES_MAX)) !== undefined);
  }

  /** Ends the source. */
  async close(): Promise<void> {
    await this.#bytes.close()
  }

  #fresh(): PaxRecords {
    const globals = this.#globals
    if (globals === undefined) return noRecords()
    return { ...globals, xattrs: new Map(globals.xattrs), sparse: {} }
  }

  async #some(bytesMax: number): Promise<Buffer> {
    const piece = await this.#bytes.some(bytesMax)
    if (piece === undefined) throw imageDamaged(this.#name(), 'its tar ends within the data')
    this.#data -= piece.length
    return piece
  }

  async #skipRest(): Promise<void> {
    const rest = this.#data + this.#padding
    this.#data = 0
    this.#padding = 0
    if (rest > 0 && (await this.#bytes.skip(rest)) < rest) {
      throw imageDamaged(this.#name(), 'its tar ends within the data')
    }
    this.#entry = undefined
  }

  #name(): string {
    return this.#entry === undefined ? this.#where : nameIn(this.#where, this.#entry.name)
  }

  async #header(): Promise<RawHeader | undefined> {
    if (this.#ended) return undefined
    const block = await this.#bytes.read(TAR_BLOCK_BYTES)
    if (block.length === TAR_BLOCK_BYTES && !isZero(block)) return parseHeader(block, this.#where)
    if (block.length % TAR_BLOCK_BYTES !== 0) throw imageDamaged(this.#where, 'its tar ends within a header')
    this.#ended = true
    if (block.length === 0) return undefined
    const second = await this.#bytes.read(TAR_BLOCK_BYTES)
    if (second.length > 0 && !isZero(second)) throw imageDamaged(this.#where, 'its tar has one empty block, not two')
    return undefined
  }

  /** True where the header only says something of the entry that follows. */
  async #extension(header: RawHeader, extras: Extras): Promise<boolean> {
    const { type, size } = header
    if (!['x', 'g', 'L', 'K', 'X', 'V'].includes(type)) return false
    if (type !== 'g' && type !== 'V') extras.isDue = true
    if (size < 0) throw imageDamaged(this.#where, 'an extension header has a negative size')
    extras.bytes += TAR_BLOCK_BYTES + size
    if (extras.bytes > LIMITS.tarHeaderBytesMax) {
      throw imageLimit(this.#where, `the headers of one entry have more than ${LIMITS.tarHeaderBytesMax} bytes`)
    }
    const bytes = await this.#bytes.read(size)
    const padding = paddingOf(size)
    if (bytes.length < size || (await this.#bytes.skip(padding)) < padding) {
      throw imageDamaged(this.#where, 'its tar ends within an extension header')
    }
    if (type === 'x' || type === 'X') addPaxRecords(extras.records, bytes, this.#where)
    else if (type === 'g' && this.#globals !== undefined) {
      this.#globalBytes += size
      if (this.#globalBytes > LIMITS.tarHeaderBytesMax) {
        throw imageLimit(this.#where, `its global headers have more than ${LIMITS.tarHeaderBytesMax} bytes`)
      }
      addPaxRecords(this.#globals, bytes, this.#where)
      addPaxRecords(extras.records, bytes, this.#where)
    } else if (type === 'L') extras.name = untilNul(bytes)
    else if (type === 'K') extras.target = untilNul(bytes)
    return true
  }

  async #entryOf(header: RawHeader, extras: Extras): Promise<TarEntry> {
    const { records } = extras
    const name = records.sparse.name ?? records.path ?? extras.name ?? header.name
    // Made only where an error names it: there may be millions of entries.
    const where = (): string => nameIn(this.#where, name)
    const type = typeOf(header, name, where)
    let size = type === 'file' ? (records.size ?? header.size) : 0
    if (size < 0) throw imageDamaged(where(), 'its size is negative')
    let sparse: SparseRange[] | undefined
    this.#data = size
    this.#padding = paddingOf(size)
    if (type === 'file' && (header.type === 'S' || Object.keys(records.sparse).length > 0)) {
      const map = await this.#sparseMap(header, records, where())
      if (map !== undefined) {
        sparse = checkMap(map, this.#data, where())
        size = map.size
      }
    }
    if (size > LIMITS.fileBytesMax) throw imageLimit(where(), `its size is more than ${LIMITS.fileBytesMax} bytes`)
    const isLink = type === 'symlink' || type === 'hardlink'
    return {
      name,
      type,
      mode: header.mode,
      uid: records.uid ?? header.uid,
      gid: records.gid ?? header.gid,
      size,
      mtime: records.mtime?.seconds ?? header.mtime,
      mtimeNs: records.mtime?.ns ?? 0,
      target: isLink ? Buffer.from(records.target ?? extras.target ?? header.target) : Buffer.alloc(0),
      major: header.major,
      minor: header.minor,
      xattrs: [...records.xattrs.values()],
      sparse,
    }
  }

  async #sparseMap(header: RawHeader, records: PaxRecords, where: string): Promise<SparseMapOf | undefined> {
    if (header.type === 'S') return await readOldGnuMap(header.block, this.#bytes, where)
    const format = paxSparseFormat(records.sparse, where)
    if (format === undefined) return undefined
    const { size } = records.sparse
    if (size === undefined) throw imageDamaged(where, 'it is sparse, but its size is not said')
    if (format === 'records') return { ranges: records.sparse.ranges ?? [], size }
    const { ranges, read } = await readPaxMap(this.#bytes, where)
    this.#data -= read
    if (this.#data < 0) throw imageDamaged(where, 'the map of a sparse file in its tar is longer than its data')
    return { ranges, size }
  }
}

interface Extras {
  records: PaxRecords
  name: Buffer | undefined
  target: Buffer | undefined
  bytes: number
  /** Something was said of an entry that must follow. */
  isDue: boolean
}

type SparseMapOf = Awaited<ReturnType<typeof readOldGnuMap>>

/** Container programs take a name that ends with a slash for a folder where the type is that of old tars. */
function typeOf(header: RawHeader, name: Buffer, where: () => string): TarType {
  const type = TYPES[header.type]
  if (type === undefined) throw imageDamaged(where(), `its type ${JSON.stringify(header.type)} is unknown`)
  return header.type === '\0' && name.at(-1) === 0x2f ? 'directory' : type
}

function* holes(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= HOLE_BYTES) yield left >= HOLE_BYTES ? HOLE : HOLE.subarray(0, left)
}

function paddingOf(bytes: number): number {
  return (TAR_BLOCK_BYTES - (bytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0)
}

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0)
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end))
}

/** `layer 2, entry "a/b"`; of a long name its beginning. */
export function nameIn(where: string, name: Buffer): string {
  const shown = displayBytes(name.subarray(0, LIMITS.nameBytesMax))
  return `${where}, entry "${shown}${name.length > LIMITS.nameBytesMax ? '...' : ''}"`
}
