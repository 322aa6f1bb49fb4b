import { LIMITS } from '../base/index.ts'

/*
 * Memory of blocks, given back by hand. Left to the collector, each block is three to five fresh pieces of 512 KiB: their page
 * faults cost more than all that is done with them, and V8 marks its whole heap for each 64 MB (docs/decisions/090).
 */

/** Less than this is not worth the call, and may lie in Node's shared pool. */
const FREE_BYTES_MIN = 64 * 1024
/** What a store may have in flight; 10 MB. */
const SLOTS_MAX = LIMITS.connectionsPerStore

/**
 * Frees a block's memory at once: the buffer is empty afterwards, for whoever still holds it. Does nothing to small buffers, to
 * parts of a larger one and to shared memory. Only for who owns `bytes` alone.
 */
export function freeBytes(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (bytes.byteLength < FREE_BYTES_MIN || bytes.byteLength !== buffer.byteLength) return
  // A transfer to another length frees what there was.
  if (buffer instanceof ArrayBuffer) buffer.transfer(0)
}

/** A block that several readers were given: freed when each has said that he is done. */
export class SharedBytes {
  readonly bytes: Buffer
  #readers: number

  constructor(bytes: Buffer, readers: number) {
    this.bytes = bytes
    this.#readers = readers
  }

  /** Once for each reader; who never calls leaves the block to the collector. */
  done(): void {
    this.#readers -= 1
    if (this.#readers === 0) freeBytes(this.bytes)
  }
}

const slots: SharedArrayBuffer[] = []

/**
 * Memory for the stored bytes of one block, which any thread of the pool can read without a copy. Never given back, it is
 * garbage like any other.
 */
export function takeStored(bytes: number): Buffer {
  if (bytes < FREE_BYTES_MIN || bytes > LIMITS.storedBlockBytesMax) return Buffer.allocUnsafeSlow(bytes)
  return Buffer.from(slots.pop() ?? new SharedArrayBuffer(LIMITS.storedBlockBytesMax), 0, bytes)
}

/** The caller is done with stored bytes. What `takeStored` did not give is left to the collector: its source may keep it. */
export function giveStored(stored: Buffer): void {
  const { buffer } = stored
  if (!(buffer instanceof SharedArrayBuffer) || buffer.byteLength !== LIMITS.storedBlockBytesMax) return
  if (slots.length < SLOTS_MAX) slots.push(buffer)
}

/** Lets go of what is kept for the next blocks. */
export function forgetStored(): void {
  slots.length = 0
}
