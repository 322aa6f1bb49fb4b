import { type BigIntStats, type PathLike, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'

/** What lies at a path; undefined: nothing, or it cannot be looked at. */
type Identity = string | undefined

/** Files of the program that this process runs. Package managers put others in their place (docs/decisions/266). */
export class OwnProgram {
  readonly #paths: readonly PathLike[]
  readonly #ours: readonly Identity[]
  /** What lay there at the last `hasSettled`. */
  #last: readonly Identity[]
  #isLooking = false

  constructor(...paths: readonly PathLike[]) {
    this.#paths = paths
    this.#ours = paths.map(lookNow)
    this.#last = this.#ours
  }

  /** Another file lies there. Where none does, it is on its way. */
  get isReplaced(): boolean {
    return this.#differs(this.#paths.map(lookNow))
  }

  /**
   * Another file lies there, and did so when this was last asked: whoever replaces files has ended. False while an earlier look is
   * under way, which on a disk that is away never ends.
   */
  async hasSettled(): Promise<boolean> {
    if (this.#isLooking) return false
    this.#isLooking = true
    const last = this.#last
    this.#last = await Promise.all(this.#paths.map(look))
    this.#isLooking = false
    return this.#differs(this.#last) && this.#last.join() === last.join()
  }

  #differs(now: readonly Identity[]): boolean {
    return now.some((one, nth) => one !== undefined && this.#ours[nth] !== undefined && one !== this.#ours[nth])
  }
}

function lookNow(path: PathLike): Identity {
  try {
    return identityOf(statSync(path, { bigint: true }))
  } catch {
    return undefined
  }
}

async function look(path: PathLike): Promise<Identity> {
  return stat(path, { bigint: true }).then(identityOf, () => undefined)
}

/** Without ctime, which backups change. */
function identityOf({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs].join('.')
}
