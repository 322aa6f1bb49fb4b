const KEYS_MAX = 16_384
const GENERATION_MS = 300_000

/** Which blocks were used in the last five to ten minutes, as far as two bounded sets can tell. */
export class RecentKeys {
  #young = new Set<string>()
  #old = new Set<string>()
  #turnAt = 0

  add(name: string, now: number): void {
    if (this.#young.size >= KEYS_MAX || now > this.#turnAt) {
      this.#old = now > this.#turnAt + GENERATION_MS ? new Set() : this.#young
      this.#young = new Set()
      this.#turnAt = now + GENERATION_MS
    }
    this.#young.add(name)
  }

  has(name: string): boolean {
    return this.#young.has(name) || this.#old.has(name)
  }
}
