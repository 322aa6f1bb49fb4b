import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { createClient, ErrorReply, RESP_TYPES } from 'redis'
import { FlistError, LIMITS, systemCode, systemReason, type FlistErrorCode } from '../base/index.ts'
import { DENIED_HINT, PROTOCOL_HINT, storeError, UNREACHABLE_HINT } from './store-errors.ts'
import type { Secrets } from './store-secret.ts'
import type { StoreUrl } from './store-url.ts'
import { untilAbort } from './wait.ts'

/** One connection, logged in and in its namespace. */
export interface ZdbConnection {
  readonly alive: boolean
  readonly inFlight: number
  /** Milliseconds of the clock at the last answer of the server. */
  readonly lastReplyAt: number
  get(id: Buffer): Promise<Buffer | undefined>
  has(id: Buffer): Promise<boolean>
  set(id: Buffer, stored: Buffer): Promise<void>
  /** Closes at once; what waits fails with FLIST_STORE_UNREACHABLE. May be called again. */
  drop(): void
}

/** Namespace a connection starts in, hub-api.md section 6. */
const DEFAULT_NAMESPACE = 'default'

/** Bytes between two replies: a block and what stands around it. */
const REPLY_BYTES_MAX = LIMITS.storedBlockBytesMax + 64 * 1024

/** Counts what comes, because the client keeps all of a reply until it is whole, however large its server says it is. */
class Meter {
  #bytes = 0
  /** More came than any reply has: the connection was closed for that. */
  isOver = false

  watch(socket: Socket): void {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length
      this.isOver = this.#bytes > REPLY_BYTES_MAX
      if (this.isOver) socket.destroy(new Error('a reply is too large'))
    })
  }

  replied(): void {
    this.#bytes = 0
  }
}

/** The client shows nobody its socket: Node tells of it, and this for whom it is made. */
const connecting = new AsyncLocalStorage<Meter>()
subscribe('net.client.socket', (message) => connecting.getStore()?.watch((message as { socket: Socket }).socket))

/** Connects, authenticates (redis), selects. Throws coded errors without secrets. */
export async function connectZdb(store: StoreUrl, secrets: Secrets, timeoutMs: number): Promise<ZdbConnection> {
  const client = openClient(store, secrets, timeoutMs)
  // Without a listener an error would end the process; each call hears of it by itself.
  client.on('error', () => {})
  const deadline = AbortSignal.timeout(timeoutMs)
  const meter = new Meter()
  try {
    await untilAbort(
      connecting.run(meter, () => client.connect()),
      store.name,
      deadline,
    )
    const select = selectCommand(store, secrets)
    if (select !== undefined) {
      const reply = await untilAbort(client.sendCommand<unknown>(select), store.name, deadline)
      if (String(reply) !== 'OK')
        throw storeError('FLIST_STORE_PROTOCOL', store.name, 'SELECT was not answered by OK', PROTOCOL_HINT)
    }
  } catch (error) {
    if (client.isOpen) client.destroy()
    throw meter.isOver ? tooLarge(store.name) : asStoreError(store.name, error, secrets)
  }
  return connection(client, store.name, secrets, meter)
}

type Client = ReturnType<typeof openClient>

function openClient(store: StoreUrl, secrets: Secrets, timeoutMs: number) {
  const { user, password } = redisLogin(store, secrets)
  const address = store.host === '' ? { path: store.path, tls: false as const } : { host: store.host, port: store.port }
  const client = createClient({
    // 0-db knows neither HELLO nor CLIENT.
    RESP: 2,
    disableClientInfo: true,
    maintNotifications: 'disabled',
    // ZdbSource reconnects: it must SELECT before anything else is sent.
    socket: { ...address, connectTimeout: timeoutMs, reconnectStrategy: false },
    ...(user === '' ? {} : { username: user }),
    ...(password === '' ? {} : { password }),
  })
  return client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
}

/** 0-db takes the password with SELECT. `redis://secret@host` is how 0-fs writes a password (flist-v1.md section 8). */
function redisLogin(store: StoreUrl, { user, password }: Secrets): { user: string; password: string } {
  if (store.scheme === 'zdb') return { user: '', password: '' }
  return password === '' ? { user: '', password: user } : { user, password }
}

function selectCommand(store: StoreUrl, { password }: Secrets): string[] | undefined {
  const { namespace, scheme } = store
  if (namespace === '' || (scheme === 'zdb' && namespace === DEFAULT_NAMESPACE)) return undefined
  return scheme === 'zdb' && password !== '' ? ['SELECT', namespace, password] : ['SELECT', namespace]
}

function connection(client: Client, name: string, secrets: Secrets, meter: Meter): ZdbConnection {
  let inFlight = 0
  let lastReplyAt = performance.now()
  const replied = (): void => {
    lastReplyAt = performance.now()
    meter.replied()
  }
  const run = async <T>(command: (string | Buffer)[], check: (reply: unknown) => T): Promise<T> => {
    inFlight += 1
    try {
      const reply = await client.sendCommand<unknown>(command)
      replied()
      return check(reply)
    } catch (error) {
      if (error instanceof ErrorReply) replied()
      throw meter.isOver ? tooLarge(name) : asStoreError(name, error, secrets)
    } finally {
      inFlight -= 1
    }
  }
  return {
    get alive() {
      return client.isReady
    },
    get inFlight() {
      return inFlight
    },
    get lastReplyAt() {
      return lastReplyAt
    },
    get: (id) => run(['GET', id], (reply) => checkReply(name, reply)),
    has: (id) => run(['EXISTS', id], (reply) => checkExists(name, reply)),
    set: (id, stored) => run(['SET', id, stored], (reply) => checkStored(name, id, reply)),
    drop() {
      if (client.isOpen) client.destroy()
    },
  }
}

function checkReply(name: string, reply: unknown): Buffer | undefined {
  if (reply === null) return undefined
  if (!Buffer.isBuffer(reply))
    throw storeError('FLIST_STORE_PROTOCOL', name, 'GET was not answered by bytes', PROTOCOL_HINT)
  if (reply.length === 0) throw storeError('FLIST_STORE_PROTOCOL', name, 'a block is empty', PROTOCOL_HINT)
  if (reply.length > LIMITS.storedBlockBytesMax) throw tooLarge(name)
  return reply
}

function tooLarge(name: string): FlistError {
  return storeError('FLIST_STORE_PROTOCOL', name, 'a block is too large', PROTOCOL_HINT)
}

function checkExists(name: string, reply: unknown): boolean {
  if (reply === 1 || reply === 0) return reply === 1
  throw storeError('FLIST_STORE_PROTOCOL', name, 'EXISTS was answered by neither 0 nor 1', PROTOCOL_HINT)
}

/** 0-db answers with the key, or with nothing where it has this value under it already; redis with OK. */
function checkStored(name: string, id: Buffer, reply: unknown): void {
  const isKey = Buffer.isBuffer(reply) && reply.equals(id)
  const isOk = reply === 'OK' || (Buffer.isBuffer(reply) && reply.toString('latin1') === 'OK')
  if (isKey || isOk || reply === null) return
  throw storeError('FLIST_STORE_PROTOCOL', name, 'SET was answered by another key', PROTOCOL_HINT)
}

const DENIED =
  /^(Access denied|Namespace protected|READONLY|.*read-only|Authentication|NOAUTH|WRONGPASS|NOPERM|ERR AUTH|ERR invalid password)/i
/** Answers of a redis that is starting or overloaded. */
const LATER = /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|ERR max number of clients)/i

function asStoreError(name: string, error: unknown, secrets: Secrets): FlistError {
  if (error instanceof FlistError) return error
  if (!(error instanceof ErrorReply)) {
    return storeError(
      'FLIST_STORE_UNREACHABLE',
      name,
      systemCode(error) ? systemReason(error) : 'the connection broke',
      UNREACHABLE_HINT,
    )
  }
  // Redis repeats what it does not understand, arguments and all.
  const text = withoutSecrets(error.message, secrets).slice(0, 120)
  const why = `it answered "${text}"`
  const [code, hint] = verdict(text)
  return storeError(code, name, why, hint)
}

function verdict(text: string): [FlistErrorCode, string] {
  if (DENIED.test(text)) return ['FLIST_STORE_DENIED', DENIED_HINT]
  if (LATER.test(text)) return ['FLIST_STORE_UNREACHABLE', UNREACHABLE_HINT]
  if (/^Namespace not found/i.test(text))
    return ['FLIST_STORE_PROTOCOL', 'Check the namespace, the last part of the URL']
  return ['FLIST_STORE_PROTOCOL', PROTOCOL_HINT]
}

function withoutSecrets(text: string, { user, password, token }: Secrets): string {
  let out = text
  for (const secret of [password, token, user]) if (secret !== '') out = out.replaceAll(secret, '***')
  return out
}
