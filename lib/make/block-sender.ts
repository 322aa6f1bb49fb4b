import type { OpenSinks } from '../store/index.ts'

/** Sends blocks to the stores that are no folders, each once. */
export class BlockSender {
  readonly #sinks: OpenSinks
  readonly #signal: AbortSignal
  /** Blocks on their way, by id. */
  readonly #away = new Map<string, Promise<boolean>>()
  /** Stored bytes on their way. */
  bytes = 0

  constructor(sinks: OpenSinks, signal: AbortSignal) {
    this.#sinks = sinks
    this.#signal = signal
  }

  /**
   * Ends when the stores have the block; true where one did not have it before. `isFirst`: this block was not sent before, so
   * others like it wait for this one.
   */
  async send(id: Buffer, stored: Uint8Array, isFirst: boolean): Promise<boolean> {
    const hex = id.toString('hex')
    if (!isFirst) {
      await this.#away.get(hex)
      return false
    }
    this.bytes += stored.length
    const sending = this.#sinks.send(id, Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength), this.#signal)
    this.#away.set(hex, sending)
    try {
      return await sending
    } finally {
      this.#away.delete(hex)
      this.bytes -= stored.length
    }
  }
}
