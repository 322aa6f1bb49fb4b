import { LIMITS } from '../../base/index.ts'
import { beyondLimit } from '../damage.ts'

const WORD = 8
/** Pointer kinds and element sizes (capnproto.org/encoding.html). */
const KIND = { struct: 0, list: 1 } as const
const ELEMENT = { bytes: 2, structs: 7 } as const
const FIRST_BYTES = 64 * 1024

/**
 * Makes one Cap'n Proto message after another, each of one segment whose pointers lead forward: every reader takes that. Places
 * are byte offsets in the segment. A message's bytes are good until the next `begin`.
 */
export class MessageBuilder {
  #bytes = Buffer.alloc(FIRST_BYTES)
  /** Bytes of the header, and of what was allocated after it. */
  #end = WORD

  /** Returns the root struct's place. */
  begin(dataWords: number, pointers: number): number {
    this.#bytes.fill(0, 0, this.#end)
    this.#end = WORD
    const root = this.#allocate(1)
    return this.struct(root, dataWords, pointers)
  }

  /** A struct that the pointer at `pointerAt` leads to; its place. Its pointers follow its data. */
  struct(pointerAt: number, dataWords: number, pointers: number): number {
    const at = this.#allocate(dataWords + pointers)
    this.#point(pointerAt, at, KIND.struct, (dataWords | (pointers << 16)) >>> 0)
    return at
  }

  /** A list of structs; the place of the first. Without any it stays null. */
  structs(pointerAt: number, count: number, dataWords: number, pointers: number): number {
    if (count === 0) return 0
    const words = count * (dataWords + pointers)
    const tag = this.#allocate(words + 1)
    this.#point(pointerAt, tag, KIND.list, (ELEMENT.structs | (words << 3)) >>> 0)
    this.#bytes.writeUInt32LE((count << 2) >>> 0, tag)
    this.#bytes.writeUInt32LE((dataWords | (pointers << 16)) >>> 0, tag + 4)
    return tag + WORD
  }

  /** Text: its bytes and a NUL. */
  text(pointerAt: number, text: Uint8Array): void {
    this.#put(pointerAt, text, text.length + 1)
  }

  data(pointerAt: number, bytes: Uint8Array): void {
    this.#put(pointerAt, bytes, bytes.length)
  }

  u16(at: number, value: number): void {
    this.#bytes.writeUInt16LE(value, at)
  }

  u32(at: number, value: number): void {
    this.#bytes.writeUInt32LE(value, at)
  }

  /** A whole number below 2^53. */
  u64(at: number, value: number): void {
    this.#bytes.writeUInt32LE(value % 2 ** 32, at)
    this.#bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4)
  }

  i64(at: number, value: bigint): void {
    this.#bytes.writeBigInt64LE(value, at)
  }

  /** The message in standard framing: a view. */
  end(): Buffer {
    this.#bytes.writeUInt32LE(0, 0)
    this.#bytes.writeUInt32LE((this.#end - WORD) / WORD, 4)
    return this.#bytes.subarray(0, this.#end)
  }

  #put(pointerAt: number, bytes: Uint8Array, count: number): void {
    const at = this.#allocate(Math.ceil(count / WORD))
    this.#bytes.set(bytes, at)
    this.#point(pointerAt, at, KIND.list, (ELEMENT.bytes | (count << 3)) >>> 0)
  }

  #point(pointerAt: number, at: number, kind: number, upper: number): void {
    const offset = (at - pointerAt) / WORD - 1
    this.#bytes.writeUInt32LE(((offset << 2) | kind) >>> 0, pointerAt)
    this.#bytes.writeUInt32LE(upper, pointerAt + 4)
  }

  #allocate(words: number): number {
    const at = this.#end
    this.#end += words * WORD
    if (this.#end > LIMITS.messageBytesMax) {
      throw beyondLimit('this archive', `a folder's message has more than ${LIMITS.messageBytesMax} bytes`)
    }
    if (this.#end > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(this.#end, 2 * this.#bytes.length))
      this.#bytes.copy(grown, 0, 0, at)
      this.#bytes = grown
    }
    return at
  }
}
