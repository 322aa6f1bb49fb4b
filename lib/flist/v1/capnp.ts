/** What is wrong with a message; the caller knows which directory it describes. */
export class MessageError extends Error {
  override readonly name = 'MessageError'
}

const WORD = 8
/** Pointer kinds, the low two bits (capnproto.org/encoding.html). */
const KIND = { struct: 0, list: 1, far: 2 } as const
/** Element sizes of a list. */
const ELEMENT = { bits: 1, bytes: 2, pointers: 6, structs: 7 } as const
/** Data bytes of one element, by element size; a list of pointers has none. */
const ELEMENT_BYTES = [0, 0, 1, 2, 4, 8, 0] as const
/**
 * Words visited over words of the message. In what writers make each object has one pointer, so 1 would do; the rest is for a writer that
 * shares equal texts. Objects that overlap on purpose end here.
 */
const VISIT_FACTOR = 4
const VISIT_WORDS_MIN = 64

/**
 * Reads one Cap'n Proto message at a time: unpacked, standard framing, any number of segments. It makes no objects: `follow…` checks
 * a pointer and its target's bounds and leaves what it found in `segment`, `at`, … until the next call. Why our own: `docs/decisions/010-capnp-reader.md`.
 */
export class MessageReader {
  #bytes: Uint8Array = new Uint8Array(0)
  #view: DataView = new DataView(new ArrayBuffer(0))
  /** Byte offsets in the message of each segment's first byte, and of the end. */
  #starts = new Uint32Array(64)
  #segments = 0
  #wordsLeft = 0
  // The pointer being followed, its far pointers resolved.
  #low = 0
  #high = 0

  /** Segment of the object found. Pointers inside it are followed from there. */
  segment = 0
  /** Byte offset in the message of the object, or of the first element. */
  at = 0
  /** Struct, or element of a list of structs: bytes of its data section; the pointer section follows. */
  dataBytes = 0
  /** Struct, or element of a list of structs: pointers. */
  pointers = 0
  /** List: elements. */
  count = 0
  /** List of structs: bytes from one element to the next. */
  strideBytes = 0

  /** Begins with another message. Bytes after the last segment are ignored. Throws MessageError. */
  load(bytes: Uint8Array): void {
    this.#bytes = bytes
    this.at = 0
    this.count = 0
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (bytes.length < WORD) throw new MessageError(`it is cut off after ${bytes.length} bytes`)
    this.#segments = this.#view.getUint32(0, true) + 1
    const headerBytes = Math.ceil((4 + 4 * this.#segments) / WORD) * WORD
    if (headerBytes > bytes.length) throw new MessageError(`it names ${this.#segments} segments`)
    if (this.#starts.length <= this.#segments) this.#starts = new Uint32Array(2 * this.#segments)
    let start = headerBytes
    for (let index = 0; index < this.#segments; index += 1) {
      this.#starts[index] = start
      start += this.#view.getUint32(4 + 4 * index, true) * WORD
      if (start > bytes.length) throw new MessageError(`it is cut off in segment ${index}`)
    }
    this.#starts[this.#segments] = start
    this.#wordsLeft = Math.max(VISIT_WORDS_MIN, (bytes.length / WORD) * VISIT_FACTOR)
  }

  /** Finds the root struct. False where it is null. */
  followRoot(): boolean {
    const at = this.#start(0)
    if (this.#start(1) - at < WORD) throw new MessageError('it has no root')
    return this.followStruct(0, at)
  }

  /** Finds the struct that the pointer at `pointerAt` in `segment` names: sets `segment`, `at`, `dataBytes`, `pointers`. False where it is null. */
  followStruct(segment: number, pointerAt: number): boolean {
    if (!this.#follow(segment, pointerAt)) return false
    if ((this.#low & 3) !== KIND.struct) throw new MessageError('a list stands where a struct should')
    this.dataBytes = (this.#high & 0xffff) * WORD
    this.pointers = this.#high >>> 16
    this.#visit(this.dataBytes + this.pointers * WORD, 1)
    return true
  }

  /** Finds a list of structs: sets `segment`, `at` (first element), `count`, `strideBytes`, `dataBytes`, `pointers`. False where it is null. */
  followStructs(segment: number, pointerAt: number): boolean {
    const element = this.#followList(segment, pointerAt)
    if (element < 0) return false
    const length = this.#high >>> 3
    if (element !== ELEMENT.structs) {
      // A list of numbers or pointers may stand for structs with that one field.
      if (element === ELEMENT.bits) throw new MessageError('a list of bits stands where structs should')
      this.pointers = element === ELEMENT.pointers ? 1 : 0
      this.dataBytes = ELEMENT_BYTES[element] ?? 0
      this.strideBytes = this.dataBytes + this.pointers * WORD
      this.count = length
      this.#visit(length * this.strideBytes, length)
      return true
    }
    this.#visit((length + 1) * WORD, 1)
    const low = this.#view.getInt32(this.at, true)
    const high = this.#view.getInt32(this.at + 4, true)
    this.at += WORD
    this.count = low >>> 2
    this.dataBytes = (high & 0xffff) * WORD
    this.pointers = high >>> 16
    this.strideBytes = this.dataBytes + this.pointers * WORD
    if ((low & 3) !== KIND.struct || this.count * this.strideBytes > length * WORD) {
      throw new MessageError(`a list of ${this.count} structs is larger than its place`)
    }
    // Structs of no size cost no bytes, but we visit each.
    if (this.strideBytes === 0) this.#spend(this.count)
    return true
  }

  /** Finds a Text or Data: sets `segment`, `at` and `count`, its bytes with the NUL. False where it is null. */
  followBytes(segment: number, pointerAt: number): boolean {
    const element = this.#followList(segment, pointerAt)
    if (element < 0) return false
    if (element !== ELEMENT.bytes) throw new MessageError('another list stands where text should')
    this.count = this.#high >>> 3
    this.#visit(this.count, 1)
    return true
  }

  /** `followBytes` for Text: `count` is without the NUL, and 0 where it is null. */
  followText(segment: number, pointerAt: number): void {
    if (!this.followBytes(segment, pointerAt)) {
      this.count = 0
    } else if (this.count > 0 && this.#bytes[this.at + this.count - 1] === 0) {
      this.count -= 1
    }
  }

  /** The bytes found last: a view, good until the message's bytes change. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(this.at, this.at + this.count)
  }

  /** The bytes found last, one character each. */
  latin1(): string {
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + this.at, this.count).toString('latin1')
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true)
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true)
  }

  i64(at: number): bigint {
    return this.#view.getBigInt64(at, true)
  }

  #start(segment: number): number {
    return this.#starts[segment] ?? 0
  }

  /** Follows far pointers and sets `segment` and `at`, not yet checked. False where the pointer is null. */
  #follow(segment: number, pointerAt: number): boolean {
    const view = this.#view
    let from = pointerAt
    let low = view.getInt32(from, true)
    let high = view.getInt32(from + 4, true)
    this.segment = segment
    if ((low & 3) === KIND.far) {
      const double = (low & 4) !== 0
      from = this.#far(low, high, double ? 2 : 1)
      low = view.getInt32(from, true)
      high = view.getInt32(from + 4, true)
      if (double) {
        if ((low & 7) !== KIND.far) throw new MessageError('a double-far pointer leads to no far pointer')
        this.at = this.#far(low, high, 0)
        low = view.getInt32(from + WORD, true)
        high = view.getInt32(from + WORD + 4, true)
        if ((low & 3) > KIND.list) throw new MessageError('a double-far pointer has no tag')
        this.#low = low
        this.#high = high
        return true
      }
      if ((low & 3) === KIND.far) throw new MessageError('a far pointer leads to another')
    }
    if (low === 0 && high === 0) return false
    if ((low & 3) > KIND.list) throw new MessageError('a capability stands where data should')
    this.#low = low
    this.#high = high
    this.at = from + WORD + (low >> 2) * WORD
    return true
  }

  /** Byte offset of a far pointer's target of `words` words; sets `segment`. */
  #far(low: number, high: number, words: number): number {
    const segment = high >>> 0
    if (segment >= this.#segments) throw new MessageError(`a far pointer names segment ${segment} of ${this.#segments}`)
    const at = this.#start(segment) + (low >>> 3) * WORD
    if (at + words * WORD > this.#start(segment + 1)) throw new MessageError('a far pointer leads outside its segment')
    this.#spend(words)
    this.segment = segment
    return at
  }

  /** The element size of the list found, or -1 for null. */
  #followList(segment: number, pointerAt: number): number {
    if (!this.#follow(segment, pointerAt)) return -1
    if ((this.#low & 3) !== KIND.list) throw new MessageError('a struct stands where a list should')
    return this.#high & 7
  }

  /** Checks that `bytes` at `at` lie in the segment, and counts them. */
  #visit(bytes: number, least: number): void {
    if (this.at < this.#start(this.segment) || this.at + bytes > this.#start(this.segment + 1)) {
      throw new MessageError('a pointer leads outside its segment')
    }
    this.#spend(Math.max(least, bytes / WORD))
  }

  #spend(words: number): void {
    this.#wordsLeft -= words
    if (this.#wordsLeft < 0) throw new MessageError('its parts overlap')
  }
}
