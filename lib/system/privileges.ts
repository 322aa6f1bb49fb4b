import { textOf } from '../base/index.ts'

const CAP_SYS_ADMIN = 21n

/** True where mount(2) is ours to call: root, or root of a user namespace. False too where /proc cannot be read. */
export function mayMount(): boolean {
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(textOf('/proc/self/status'))?.[1] ?? '0'
  return ((BigInt(`0x${capabilities}`) >> CAP_SYS_ADMIN) & 1n) === 1n
}

/** A run of ids that have a name in this user namespace, as it names them. */
interface IdRun {
  readonly start: number
  readonly count: number
}

/** Which user and group ids exist in the user namespace of this process, user_namespaces(7). */
export class KnownIds {
  readonly #users: readonly IdRun[]
  readonly #groups: readonly IdRun[]

  /** Texts of /proc/PID/uid_map and gid_map. */
  constructor(users = textOf('/proc/self/uid_map'), groups = textOf('/proc/self/gid_map')) {
    this.#users = parseMap(users)
    this.#groups = parseMap(groups)
  }

  /** Every id there is: not in a user namespace. Of one that has them all too the same may be said. */
  get all(): boolean {
    return [this.#users, this.#groups].every((runs) =>
      runs.some(({ start, count }) => start === 0 && count >= 2 ** 32 - 1),
    )
  }

  has(uid: number, gid: number): boolean {
    return isIn(this.#users, uid) && isIn(this.#groups, gid)
  }
}

function isIn(runs: readonly IdRun[], id: number): boolean {
  return runs.some(({ start, count }) => id >= start && id < start + count)
}

/** Lines `first-inside first-outside count`. A system without user namespaces has no such file, and every id. */
function parseMap(text: string): IdRun[] {
  if (text === '') return [{ start: 0, count: 2 ** 32 - 1 }]
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [start = 0, , count = 0] = line.trim().split(/\s+/).map(Number)
      return { start, count }
    })
}
