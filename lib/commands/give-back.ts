/** What goes back to the system now: `pages` are those that malloc keeps free, `all` is that and what the collector finds. */
export type GivenBack = 'nothing' | 'pages' | 'all'

/**
 * Looks after which pages go back though there was no rest. What malloc keeps is as much as the busiest moment so far needed, with
 * holes, in each of its arenas: a server that never rests would grow for hours (docs/decisions/232).
 */
const BUSY_LOOKS_MAX = 10
/** Looks after which all goes back though there was no rest: the collector takes 50 ms of a thread that readers wait for. */
const BUSY_LOOKS_TO_ALL = 60

/** Decides when the memory that fetching took goes back. Who asks does so once a second. */
export class GiveBack {
  #seen = 0
  /** What had been done when all, and when anything, went back. */
  #settled = 0
  #given = 0
  #looks = 0
  #looksSinceAll = 0
  /** Nothing was done between the last two looks. */
  isQuiet = true

  /** `work`: a number that changes with all that is fetched; `waiting`: reads that wait. */
  look(work: number, waiting: number): GivenBack {
    this.isQuiet = work === this.#seen
    this.#seen = work
    this.#looks += 1
    this.#looksSinceAll += 1
    if (this.isQuiet && waiting === 0) {
      if (work === this.#settled) return 'nothing'
      this.#settled = work
      return this.#give(work, 'all')
    }
    if (this.#looks < BUSY_LOOKS_MAX || work === this.#given) return 'nothing'
    return this.#give(work, this.#looksSinceAll < BUSY_LOOKS_TO_ALL ? 'pages' : 'all')
  }

  #give(work: number, what: GivenBack): GivenBack {
    this.#given = work
    this.#looks = 0
    if (what === 'all') this.#looksSinceAll = 0
    return what
  }
}
