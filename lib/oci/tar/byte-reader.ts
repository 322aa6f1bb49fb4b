/** Pulls bytes from pieces of any size. What it gives may be a view of a piece. */
export class ByteReader {
  readonly #pieces: AsyncIterator<Uint8Array>
  #piece: Buffer = Buffer.alloc(0)
  #at = 0
  #ended = false
  /** Bytes given or skipped so far. */
  consumed = 0

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]()
  }

  /** Exactly so many bytes; fewer only where the end comes first. */
  async read(bytes: number): Promise<Buffer> {
    if (this.#piece.length - this.#at >= bytes) return this.#take(bytes)
    const parts: Buffer[] = []
    let missing = bytes
    while (missing > 0 && (await this.#fill())) {
      const part = this.#take(Math.min(missing, this.#piece.length - this.#at))
      parts.push(part)
      missing -= part.length
    }
    return Buffer.concat(parts, bytes - missing)
  }

  /** At least one byte and at most so many; undefined at the end. */
  async some(bytesMax: number): Promise<Buffer | undefined> {
    if (!(await this.#fill())) return undefined
    return this.#take(Math.min(bytesMax, this.#piece.length - this.#at))
  }

  /** How many of the bytes were there to skip. */
  async skip(bytes: number): Promise<number> {
    let missing = bytes
    while (missing > 0 && (await this.#fill())) {
      missing -= this.#take(Math.min(missing, this.#piece.length - this.#at)).length
    }
    return bytes - missing
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    this.#ended = true
    this.#piece = Buffer.alloc(0)
    this.#at = 0
    await this.#pieces.return?.()
  }

  #take(bytes: number): Buffer {
    const part = this.#piece.subarray(this.#at, this.#at + bytes)
    this.#at += bytes
    this.consumed += bytes
    return part
  }

  async #fill(): Promise<boolean> {
    while (this.#at === this.#piece.length) {
      if (this.#ended) return false
      const next = await this.#pieces.next()
      if (next.done === true) {
        this.#ended = true
        return false
      }
      const { buffer, byteOffset, byteLength } = next.value
      this.#piece = Buffer.from(buffer, byteOffset, byteLength)
      this.#at = 0
    }
    return true
  }
}
