/**
 * Whether somebody waits for a block that is being fetched. It begins as readahead, which lets others go first; a reader who comes
 * to it meanwhile must not wait behind those.
 */
export class Haste {
  #isWanted: boolean
  readonly #queues = new Set<() => void>()

  constructor(isWanted: boolean) {
    this.#isWanted = isWanted
  }

  get isWanted(): boolean {
    return this.#isWanted
  }

  want(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    for (const hear of this.#queues) hear()
  }

  /** A queue in which it waits hears of it, until it says `left`. */
  waits(hear: () => void): void {
    this.#queues.add(hear)
  }

  left(hear: () => void): void {
    this.#queues.delete(hear)
  }
}
