import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { askControl, type ControlHandler, serveControl } from '../../lib/kernel/control.ts'

const { signal } = new AbortController()

/** A short one: a socket's path holds 107 bytes. */
function shortDir(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  return dir
}

async function serve(t: Test, handler: ControlHandler): Promise<string> {
  const path = join(shortDir(t), 's')
  const server = await serveControl(path, handler)
  t.teardown(() => server.close())
  return path
}

t.test('askControl() gives the answer of the server', async (t) => {
  const path = await serve(t, async (request) => ({ echo: request, text: 'ü'.repeat(200_000) }))
  t.equal(statSync(path).mode & 0o777, 0o600)
  const answer = (await askControl(path, { op: 'stats', depth: 2 }, signal)) as { echo: unknown; text: string }
  t.strictSame(answer.echo, { op: 'stats', depth: 2 })
  t.equal(answer.text.length, 200_000)
})

t.test('askControl() throws the error of the server, with its code', async (t) => {
  const path = await serve(t, (request) => {
    if (request.op === 'coded') throw new FlistError('FLIST_NOT_MOUNTED', 'Cannot see it', { hint: 'Look' })
    throw new Error('plain')
  })
  await t.rejects(askControl(path, { op: 'coded' }, signal), {
    code: 'FLIST_NOT_MOUNTED',
    message: 'Cannot see it',
    hint: 'Look',
  })
  await t.rejects(askControl(path, { op: 'other' }, signal), { code: 'FLIST_SYSTEM', message: 'plain' })
})

t.test('serveControl() answers several lines of one connection in order, and refuses what is no request', async (t) => {
  const path = await serve(t, (request) => ({ did: request.op }))
  const socket = connect(path)
  socket.setEncoding('utf8')
  socket.write('{"op":"a"}\n{"op":1}\nnonsense\n{"op":')
  socket.write('"b"}\n')
  let text = ''
  while (text.split('\n').length < 5) text += String((await once(socket, 'data'))[0])
  socket.destroy()
  const answers = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { did?: string; error?: { code: string } })
  t.strictSame(
    answers.map((answer) => answer.did ?? answer.error?.code),
    ['a', 'FLIST_USAGE', 'FLIST_SYSTEM', 'b'],
  )
})

t.test('serveControl() ends a connection whose request has no end', async (t) => {
  const path = await serve(t, () => ({}))
  const socket = connect(path)
  socket.on('error', () => undefined)
  socket.write('x'.repeat(100_000))
  await once(socket, 'close')
  t.pass('closed')
})

t.test('askControl() waits two seconds, or until its signal', async (t) => {
  const path = await serve(t, () => new Promise(() => undefined))
  await t.rejects(askControl(path, { op: 'x' }, AbortSignal.timeout(50)), { code: 'FLIST_INTERRUPTED' })
  await t.rejects(askControl(path, { op: 'x' }, AbortSignal.abort()), { code: 'FLIST_INTERRUPTED' })
  await t.rejects(askControl(path, { op: 'x' }, signal), { code: 'FLIST_TIMEOUT' })
})

t.test('askControl() says when nobody listens, or someone else does', async (t) => {
  const dir = shortDir(t)
  writeFileSync(join(dir, 'file'), '')
  await t.rejects(askControl(join(dir, 'absent'), { op: 'x' }, signal), { code: 'FLIST_NOT_MOUNTED' })
  await t.rejects(askControl(join(dir, 'file'), { op: 'x' }, signal), { code: 'FLIST_NOT_MOUNTED' })
  const path = join(dir, 'odd')
  const replies = ['nonsense\n', '', '{"error":{"code":"TOMORROW"}}\n']
  const odd = createServer((socket) => socket.end(replies.shift() ?? ''))
  odd.listen(path)
  t.teardown(() => odd.close())
  await t.rejects(askControl(path, { op: 'x' }, signal), { code: 'FLIST_SYSTEM' })
  await t.rejects(askControl(path, { op: 'x' }, signal), { code: 'FLIST_SYSTEM' })
  await t.rejects(askControl(path, { op: 'x' }, signal), {
    code: 'FLIST_SYSTEM',
    message: 'Cannot say what went wrong',
  })
})

t.test('serveControl() takes over a socket that was left, and closes twice', async (t) => {
  const path = join(shortDir(t), 's')
  await serveControl(path, () => ({}))
  await using second = await serveControl(path, () => ({ second: true }))
  t.strictSame(await askControl(path, { op: 'x' }, signal), { second: true })
  await second.close()
  await second.close()
  t.notOk(existsSync(path))
  await t.rejects(
    serveControl(join(path, 'no/such/folder'), () => ({})),
    { code: 'FLIST_SYSTEM' },
  )
})
