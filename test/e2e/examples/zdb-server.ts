import { createServer, type Server } from 'node:net'

/** What examples need of a 0-db: SELECT, GET, SET and EXISTS, in memory. It answers SET by the key, as 0-db does. */
export function zdbServer(): Server {
  const values = new Map<string, Buffer>()
  return createServer((socket) => {
    let pending = Buffer.alloc(0)
    socket.on('data', (piece: Buffer) => {
      pending = Buffer.concat([pending, piece])
      for (let parsed = parse(pending); parsed !== undefined; parsed = parse(pending)) {
        pending = pending.subarray(parsed.used)
        socket.write(answer(parsed.words, values))
      }
    })
  })
}

function answer([name, key, value]: readonly Buffer[], values: Map<string, Buffer>): Buffer | string {
  const id = key?.toString('latin1') ?? ''
  switch (name?.toString().toUpperCase()) {
    case 'SET':
      values.set(id, Buffer.from(value ?? ''))
      return bulk(key)
    case 'GET':
      return bulk(values.get(id))
    case 'EXISTS':
      return `:${values.has(id) ? 1 : 0}\r\n`
    case 'SELECT':
    case 'PING':
      return '+OK\r\n'
    default:
      return '-Command not supported\r\n'
  }
}

function bulk(bytes: Buffer | undefined): Buffer | string {
  if (bytes === undefined) return '$-1\r\n'
  return Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')])
}

/** An array of bulk strings: all that clients send. */
function parse(bytes: Buffer): { words: Buffer[]; used: number } | undefined {
  let at = 0
  const line = (): string | undefined => {
    const end = bytes.indexOf('\r\n', at)
    if (end < 0) return undefined
    const text = bytes.toString('latin1', at, end)
    at = end + 2
    return text
  }
  const count = Number(line()?.slice(1) ?? Number.NaN)
  const words: Buffer[] = []
  for (let nth = 0; nth < count; nth += 1) {
    const length = Number(line()?.slice(1) ?? Number.NaN)
    if (!(at + length + 2 <= bytes.length)) return undefined
    words.push(bytes.subarray(at, at + length))
    at += length + 2
  }
  return Number.isNaN(count) ? undefined : { words, used: at }
}
