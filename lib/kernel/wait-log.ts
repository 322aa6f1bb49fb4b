import { LIMITS } from '../base/index.ts'

/** A read that the cache could not answer, while somebody waits for it. */
export interface Wait {
  readonly row: number
  /** Bytes, in the file. */
  readonly offset: number
  readonly bytes: number
  /** `performance.now()`. */
  readonly started: number
}

/** How long readers waited for one file. */
export interface FileWaits {
  readonly row: number
  readonly waits: number
  readonly totalMs: number
  readonly worstMs: number
}

export interface ReadError {
  readonly row: number
  /** ISO 8601. */
  readonly at: string
  readonly code: string
  readonly message: string
}

/** Which files were waited for, and which reads failed. Bounded: the files waited for least are forgotten. */
export class WaitLog {
  readonly #waiting = new Set<Wait>()
  readonly #files = new Map<number, { waits: number; totalMs: number; worstMs: number }>()
  readonly #errors: ReadError[] = []
  readonly #filesMax: number

  constructor(filesMax: number = LIMITS.waitedFilesMax) {
    this.#filesMax = filesMax
  }

  begin(row: number, offset: number, bytes: number): Wait {
    const wait: Wait = { row, offset, bytes, started: performance.now() }
    this.#waiting.add(wait)
    return wait
  }

  /** Gives the milliseconds it took. */
  end(wait: Wait): number {
    const ms = performance.now() - wait.started
    this.#waiting.delete(wait)
    const file = this.#files.get(wait.row) ?? { waits: 0, totalMs: 0, worstMs: 0 }
    file.waits += 1
    file.totalMs += ms
    file.worstMs = Math.max(file.worstMs, ms)
    this.#files.set(wait.row, file)
    if (this.#files.size > this.#filesMax) this.#forgetHalf()
    return ms
  }

  failed(row: number, code: string, message: string): void {
    this.#errors.push({ row, at: new Date().toISOString(), code, message })
    if (this.#errors.length > LIMITS.readErrorsMax) this.#errors.shift()
  }

  /** Who waits now, longest first. */
  waiting(): Wait[] {
    return [...this.#waiting].sort((a, b) => a.started - b.started)
  }

  /** The files waited for most, in all. */
  top(count: number): FileWaits[] {
    return this.#sorted().slice(0, count)
  }

  of(row: number): FileWaits | undefined {
    const file = this.#files.get(row)
    return file && { row, ...file }
  }

  /** Of one file, latest last. */
  errorsOf(row: number): ReadError[] {
    return this.#errors.filter((error) => error.row === row)
  }

  #sorted(): FileWaits[] {
    return [...this.#files].map(([row, file]) => ({ row, ...file })).sort((a, b) => b.totalMs - a.totalMs)
  }

  /** Half at a time, so that sorting costs next to nothing a read. */
  #forgetHalf(): void {
    for (const { row } of this.#sorted().slice(Math.ceil(this.#filesMax / 2))) this.#files.delete(row)
  }
}
