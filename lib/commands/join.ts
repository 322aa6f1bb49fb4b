import { setTimeout as sleep } from 'node:timers/promises'
import { claimServer, joinSocketPath, Lines, reviveError } from '../kernel/index.ts'
import type { JoinRequest } from './join-door.ts'
import type { Host } from './mounting.ts'
import type { MountPlace, MountPlan } from './mount-plan.ts'

/** Milliseconds a server may take for a step. One that does not answer is left alone. */
const ANSWER_MS = 10_000
/** Milliseconds until one that is about to serve listens: it mounts an archive first. */
const LISTEN_MS = 10_000
const LOOK_EVERY_MS = 5

/** The server did not take the mount, and nothing was mounted. */
export class NotTaken extends Error {
  /** Another one may: that server was about to end. Else the mount needs a server of its own. */
  readonly mayAskAgain: boolean

  constructor(message: string, mayAskAgain: boolean) {
    super(message)
    this.mayAskAgain = mayAskAgain
  }
}

/** The server died when the mount was half way in: what it had asked of the kernel is lost, and all begins again. */
export class HostDied extends Error {}

/** A server of these circumstances; `ours` where there was none and this process has the key now; undefined where none can be asked. */
export async function findHost(key: string, signal: AbortSignal): Promise<RemoteHost | 'ours' | undefined> {
  for (const deadline = performance.now() + LISTEN_MS; performance.now() < deadline;) {
    if (claimServer(key)) return 'ours'
    const lines = await Lines.connect(joinSocketPath(key))
    if (lines !== undefined) return new RemoteHost(lines)
    await sleep(LOOK_EVERY_MS, undefined, { signal })
  }
  return undefined
}

/** Another process, which is asked to serve a mount that this one makes. */
export class RemoteHost implements Host {
  readonly #lines: Lines
  pid = 0

  constructor(lines: Lines) {
    this.#lines = lines
  }

  /** Throws NotTaken. */
  async take(plan: MountPlan, signal: AbortSignal): Promise<void> {
    const answer = await this.#ask({ op: 'join', plan }, signal)
    if (answer === undefined) throw new NotTaken('the server said nothing', this.#lines.left.aborted)
    if (typeof answer['pid'] !== 'number') throw new NotTaken(String(answer['refused']), false)
    this.pid = answer['pid']
  }

  async begin(signal: AbortSignal): Promise<void> {
    if ((await this.#ask({ op: 'begin' }, signal)) === undefined) throw new HostDied('the server died')
  }

  async settle(place: MountPlace, signal: AbortSignal): Promise<void> {
    if ((await this.#ask({ op: 'settle', place }, signal)) === undefined) throw new HostDied('the server died')
  }

  drop(): Promise<void> {
    this.#lines.close()
    return Promise.resolve()
  }

  async #ask(request: JoinRequest, signal: AbortSignal): Promise<Readonly<Record<string, unknown>> | undefined> {
    this.#lines.send(request)
    const answer = await this.#lines.receive(ANSWER_MS, signal)
    if (typeof answer !== 'object' || answer === null) return undefined
    if ('error' in answer) throw reviveError(answer.error)
    return answer as Readonly<Record<string, unknown>>
  }
}
