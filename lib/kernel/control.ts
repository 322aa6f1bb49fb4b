import { chmodSync, rmSync } from 'node:fs'
import { createServer, connect, type Server, type Socket } from 'node:net'
import { describeError, ERROR_TABLE, FlistError, type FlistErrorCode, systemCode, systemReason } from '../base/index.ts'
import { withSocketPath } from './socket-path.ts'

/** A request is one JSON object on one line, `{"op": "stats"}`; so is the answer, or `{"error": {code, message, hint}}`. */
export interface ControlRequest {
  readonly op: string
  readonly [key: string]: unknown
}

export type ControlHandler = (request: ControlRequest, signal: AbortSignal) => unknown

export interface ControlServer {
  /** Ends all connections and removes the socket. Idempotent. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Bytes of one request. */
const REQUEST_BYTES_MAX = 64 * 1024
/** Bytes of one answer. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024
/** Connections at once: a local tool asks and leaves. */
const CONNECTIONS_MAX = 32
/** Milliseconds a connection may say nothing, and a question may wait for its answer. */
const QUIET_MS = 10_000

/** Answers JSON lines on a unix socket that only this user may open. Does not keep the process alive by itself. Throws FLIST_SYSTEM. */
export async function serveControl(path: string, handler: ControlHandler): Promise<ControlServer> {
  const sockets = new Set<Socket>()
  const ending = new AbortController()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    attend(socket, handler, ending.signal)
  })
  server.maxConnections = CONNECTIONS_MAX
  await listen(server, path)
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= new Promise((resolve) => {
      ending.abort()
      server.close(() => resolve())
      for (const socket of sockets) socket.destroy()
      rmSync(path, { force: true })
    })
    return closed
  }
  return { close, [Symbol.asyncDispose]: close }
}

async function listen(server: Server, path: string): Promise<void> {
  try {
    rmSync(path, { force: true })
    // The folder is closed to others (`prepareRuntimeDir`), so the moment before chmod is none.
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      withSocketPath(path, (short) => server.listen(short, resolve))
    })
    chmodSync(path, 0o600)
    server.unref()
  } catch (error) {
    throw new FlistError('FLIST_SYSTEM', `Cannot listen on "${path}": ${systemReason(error)}`, { cause: error })
  }
}

function attend(socket: Socket, handler: ControlHandler, signal: AbortSignal): void {
  let text = ''
  let work = Promise.resolve()
  socket.unref()
  socket.setEncoding('utf8')
  socket.setTimeout(QUIET_MS, () => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: string) => {
    text += chunk
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    if (text.length > REQUEST_BYTES_MAX) return void socket.destroy()
    for (const line of lines) {
      work = work.then(async () => {
        const answer = await answerTo(line, handler, signal)
        if (!socket.destroyed) socket.write(`${answer}\n`)
      })
    }
  })
}

async function answerTo(line: string, handler: ControlHandler, signal: AbortSignal): Promise<string> {
  try {
    const request: unknown = JSON.parse(line)
    if (!isRequest(request)) throw new FlistError('FLIST_USAGE', 'Cannot answer a request without "op"')
    return JSON.stringify((await handler(request, signal)) ?? {})
  } catch (error) {
    const known = error instanceof FlistError ? error : new FlistError('FLIST_SYSTEM', describeError(error))
    return JSON.stringify({ error: known })
  }
}

function isRequest(value: unknown): value is ControlRequest {
  return typeof value === 'object' && value !== null && 'op' in value && typeof value.op === 'string'
}

/**
 * Asks the server of a mount and gives its answer. Throws FLIST_NOT_MOUNTED when nobody listens there, FLIST_TIMEOUT after ten
 * seconds, FLIST_INTERRUPTED, or the error the server answered with.
 */
export async function askControl(path: string, request: ControlRequest, signal: AbortSignal): Promise<unknown> {
  const deadline = AbortSignal.timeout(QUIET_MS)
  const socket = withSocketPath(path, connect)
  try {
    const line = await exchange(socket, `${JSON.stringify(request)}\n`, AbortSignal.any([signal, deadline]))
    const answer: unknown = JSON.parse(line)
    if (typeof answer === 'object' && answer !== null && 'error' in answer) throw reviveError(answer.error)
    return answer
  } catch (error) {
    throw asControlError(error, path, signal, deadline)
  } finally {
    socket.destroy()
  }
}

function exchange(socket: Socket, request: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const stop = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error('stopped'))
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    socket.setEncoding('utf8')
    socket.on('error', reject)
    socket.on('close', () => {
      signal.removeEventListener('abort', stop)
      reject(new Error('the server closed the connection'))
    })
    socket.on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end >= 0) resolve(text.slice(0, end))
      else if (text.length > ANSWER_BYTES_MAX) reject(new Error('the answer is too long'))
    })
    socket.write(request)
  })
}

function asControlError(error: unknown, path: string, signal: AbortSignal, deadline: AbortSignal): FlistError {
  if (error instanceof FlistError) return error
  if (signal.aborted) return new FlistError('FLIST_INTERRUPTED', 'Cannot finish: interrupted', { cause: error })
  if (deadline.aborted) {
    return new FlistError('FLIST_TIMEOUT', `Cannot ask "${path}": no answer in ${QUIET_MS / 1000} s`, {
      hint: 'Try again; where it stays silent, `flistfs umount --force` ends its mount',
      cause: error,
    })
  }
  if (['ENOENT', 'ECONNREFUSED'].includes(systemCode(error))) {
    return new FlistError('FLIST_NOT_MOUNTED', `Cannot ask "${path}": no server listens there`, {
      hint: 'See `flistfs list`: a mount that is dead is cleared away by the next one, or by `flistfs umount`',
      cause: error,
    })
  }
  return new FlistError('FLIST_SYSTEM', `Cannot ask "${path}": ${describeError(error)}`, { cause: error })
}

/** An error that came as JSON. */
export function reviveError(value: unknown): FlistError {
  const fields = (typeof value === 'object' && value !== null ? value : {}) as {
    code?: unknown
    message?: unknown
    hint?: unknown
  }
  const code = (
    typeof fields.code === 'string' && fields.code in ERROR_TABLE ? fields.code : 'FLIST_SYSTEM'
  ) as FlistErrorCode
  const message = typeof fields.message === 'string' ? fields.message : 'Cannot say what went wrong'
  return new FlistError(code, message, typeof fields.hint === 'string' ? { hint: fields.hint } : {})
}
