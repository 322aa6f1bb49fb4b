import { statSync } from 'node:fs'
import type { PathLike } from 'node:fs'

/** A file of the program that this process runs. Package managers put another one in its place (docs/decisions/266). */
export class OwnProgram {
  readonly #path: PathLike
  readonly #ours: string | undefined
  /** What lay there at the last `hasSettled`. */
  #last: string | undefined

  constructor(path: PathLike) {
    this.#path = path
    this.#ours = identityOf(path)
    this.#last = this.#ours
  }

  /** Another file lies there. Where none does, it is on its way. */
  get isReplaced(): boolean {
    const now = identityOf(this.#path)
    return now !== undefined && this.#ours !== undefined && now !== this.#ours
  }

  /** Another file lies there, and did so when this was last asked: whoever replaces files has ended. */
  hasSettled(): boolean {
    const last = this.#last
    this.#last = identityOf(this.#path)
    return this.isReplaced && this.#last === last
  }
}

/** Without ctime, which backups change. */
function identityOf(path: PathLike): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false })
  return found && [found.dev, found.ino, found.size, found.mtimeNs].join('.')
}
