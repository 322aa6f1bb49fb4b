import { LIMITS } from '../base/index.ts'
import { PIECE } from '../store/index.ts'
import type { FileTask } from './file-task.ts'

/** Bytes of content, and pieces, of one message to a thread. */
const BATCH_BYTES = 2 * LIMITS.blockBytesMax
const BATCH_PIECES_MAX = 128
const RECORDS_BYTES = 64 * 1024

/** Blocks of one content that are being made. */
export interface Pieces {
  /** Id and key of each block. */
  readonly refs: Buffer
  /** Blocks that are not known yet. */
  left: number
  changed: boolean
  hasXattrs: boolean
  errno: number
  /** Called when none is left. */
  finish(): void
}

export interface PieceOwner {
  readonly pieces: Pieces
  /** Number of the block. */
  readonly index: number
  /** Plain bytes. */
  readonly bytes: number
}

/** Pieces of files to read, gathered for one message. */
export class FileBatch {
  readonly owners: PieceOwner[] = []
  #records = Buffer.from(new ArrayBuffer(RECORDS_BYTES))
  #at = 0
  #bytes = 0

  add(task: FileTask, pieces: Pieces, index: number, bytes: number): void {
    const records = this.#records
    records.writeInt32LE(task.folder.fd, this.#at + PIECE.dir)
    records.writeUInt16LE(task.name.length, this.#at + PIECE.nameBytes)
    records.writeUInt16LE(task.follow ? 1 : 0, this.#at + PIECE.follow)
    records.writeDoubleLE(index * LIMITS.blockBytesMax, this.#at + PIECE.offset)
    records.writeUInt32LE(bytes, this.#at + PIECE.bytes)
    task.stamp.copy(records, this.#at + PIECE.stamp)
    task.name.copy(records, this.#at + PIECE.size)
    this.#at += PIECE.size + task.name.length
    this.#bytes += bytes
    this.owners.push({ pieces, index, bytes })
  }

  get isFull(): boolean {
    return this.#bytes >= BATCH_BYTES || this.owners.length >= BATCH_PIECES_MAX
  }

  /** The records, which may leave this thread. */
  get records(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#records.buffer, 0, this.#at)
  }
}

/** Bytes that are here, gathered for one message. */
export class ByteBatch {
  readonly owners: PieceOwner[] = []
  readonly shared: SharedArrayBuffer
  readonly #bytes: Uint8Array
  #spans: number[] = []
  #at = 0

  constructor(shared = new SharedArrayBuffer(BATCH_BYTES)) {
    this.shared = shared
    this.#bytes = new Uint8Array(shared)
  }

  get room(): number {
    return this.owners.length < BATCH_PIECES_MAX ? this.#bytes.length - this.#at : 0
  }

  add(pieces: Pieces, index: number, block: Uint8Array): void {
    this.#bytes.set(block, this.#at)
    this.#spans.push(this.#at, block.length)
    this.#at += block.length
    this.owners.push({ pieces, index, bytes: block.length })
  }

  /** Offset and length of each piece. */
  get spans(): Uint32Array {
    return Uint32Array.from(this.#spans)
  }
}
