/** Reads what OpenSSH writes: numbers of four bytes, big-endian, and strings with their length before them (RFC 4251, section 5). */
export class SshReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  /** Undefined past the end, as below. */
  u32(): number | undefined {
    if (this.left < 4) return undefined
    this.#at += 4
    return this.#bytes.readUInt32BE(this.#at - 4)
  }

  /** A view. */
  take(length: number): Buffer | undefined {
    if (length > this.left) return undefined
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  string(): Buffer | undefined {
    const length = this.u32()
    return length === undefined ? undefined : this.take(length)
  }
}

export function sshString(bytes: Buffer | string): Buffer {
  const text = Buffer.from(bytes)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return Buffer.concat([length, text])
}
