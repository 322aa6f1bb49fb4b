import { FlistError, LIMITS } from '../base/index.ts'
import type { BlockSource } from './port.ts'
import type { BlockSink } from './sink.ts'
import { abortError, storeError, TIMEOUT_HINT, UNREACHABLE_HINT } from './store-errors.ts'
import type { Secrets } from './store-secret.ts'
import type { StoreUrl } from './store-url.ts'
import { backoffMs, pause, untilAbort } from './wait.ts'
import { connectZdb, type ZdbConnection } from './zdb-connection.ts'

/** Requests on one connection before a second is opened: answers come in order, so a large one holds up those behind it. */
const BUSY_REQUESTS = 8
const CONNECTIONS_MAX = 2
const BACKOFF_BASE_MS = 100
const BACKOFF_MAX_MS = 5000

/** Blocks in a 0-db (`zdb:`) or a redis server, by pipelined commands over one or two connections. */
export class ZdbSource implements BlockSource, BlockSink {
  readonly name: string
  readonly #store: StoreUrl
  #secrets: Secrets
  readonly #lookAgain: () => Promise<Secrets>
  readonly #timeoutMs: number
  readonly #open: ZdbConnection[] = []
  #connecting: Promise<ZdbConnection> | undefined
  #failures = 0
  /** By the clock that is never set. */
  #retryAt = 0
  #closed = false

  /** `lookAgain` is asked where the server takes the secrets no more: a password in a file is replaced now and then. */
  constructor(
    store: StoreUrl,
    secrets: Secrets,
    lookAgain: () => Promise<Secrets>,
    timeoutMs: number = LIMITS.tryTimeoutMs,
  ) {
    this.name = store.name
    this.#store = store
    this.#secrets = secrets
    this.#lookAgain = lookAgain
    this.#timeoutMs = timeoutMs
  }

  get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
    return this.#run((connection) => connection.get(id), signal)
  }

  has(id: Buffer, signal: AbortSignal): Promise<boolean> {
    return this.#run((connection) => connection.has(id), signal)
  }

  put(id: Buffer, stored: Buffer, signal: AbortSignal): Promise<void> {
    return this.#run((connection) => connection.set(id, stored), signal)
  }

  /** Once more where the server refused secrets in whose place others are by now. */
  async #run<T>(command: (connection: ZdbConnection) => Promise<T>, signal: AbortSignal): Promise<T> {
    const told = this.#secrets
    try {
      return await this.#runOnce(command, signal)
    } catch (error) {
      if (!(error instanceof FlistError) || error.code !== 'FLIST_STORE_DENIED') throw error
      if (this.#secrets === told) await this.#renew(told)
      if (this.#secrets === told) throw error
      return await this.#runOnce(command, signal)
    }
  }

  async #renew(told: Secrets): Promise<void> {
    const { user, password } = await this.#lookAgain()
    if (this.#secrets !== told || (user === told.user && password === told.password)) return
    this.#secrets = { ...told, user, password }
    // Those that are open are logged in with the old ones, or not at all.
    for (const connection of this.#open.splice(0)) connection.drop()
  }

  async #runOnce<T>(command: (connection: ZdbConnection) => Promise<T>, signal: AbortSignal): Promise<T> {
    if (signal.aborted) throw abortError(signal, this.name)
    const connection = this.#free() ?? (await this.#connection(signal))
    const silentSince = connection.lastReplyAt
    const timer = AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)])
    try {
      return await untilAbort(command(connection), this.name, timer)
    } catch (error) {
      // A connection that said nothing at all in that time is dead: what waits on it fails now and may try anew.
      const late = error instanceof FlistError && error.code === 'FLIST_TIMEOUT'
      if (late && connection.lastReplyAt === silentSince) connection.drop()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    for (const connection of this.#open.splice(0)) connection.drop()
    // Nobody waits for a name that is looked up.
    this.#connecting?.then(
      (late) => late?.drop(),
      () => undefined,
    )
  }

  #free(): ZdbConnection | undefined {
    let best: ZdbConnection | undefined
    for (let at = this.#open.length - 1; at >= 0; at -= 1) {
      const connection = this.#open[at]
      if (connection === undefined || !connection.alive) this.#open.splice(at, 1)
      else if (best === undefined || connection.inFlight < best.inFlight) best = connection
    }
    // A second connection is made beside, nobody waits for it.
    const more = best !== undefined && best.inFlight >= BUSY_REQUESTS && this.#open.length < CONNECTIONS_MAX
    if (more && this.#connecting === undefined && performance.now() >= this.#retryAt) this.#connect().catch(() => {})
    return best
  }

  async #connection(signal: AbortSignal): Promise<ZdbConnection> {
    const waitMs = this.#connecting === undefined ? this.#retryAt - performance.now() : 0
    if (waitMs > 0) await pause(waitMs, this.name, signal)
    return this.#free() ?? (await untilAbort(this.#connect(), this.name, signal))
  }

  #connect(): Promise<ZdbConnection> {
    if (this.#closed)
      return Promise.reject(storeError('FLIST_STORE_UNREACHABLE', this.name, 'it was closed', UNREACHABLE_HINT))
    this.#connecting ??= this.#connectOnce().finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  async #connectOnce(): Promise<ZdbConnection> {
    try {
      const connection = await connectZdb(this.#store, this.#secrets, this.#timeoutMs)
      this.#failures = 0
      if (this.#closed) connection.drop()
      else this.#open.push(connection)
      return connection
    } catch (error) {
      this.#retryAt = performance.now() + backoffMs(this.#failures, BACKOFF_BASE_MS, BACKOFF_MAX_MS)
      this.#failures += 1
      if (error instanceof FlistError) throw error
      throw storeError('FLIST_TIMEOUT', this.name, 'no connection in time', TIMEOUT_HINT)
    }
  }
}
