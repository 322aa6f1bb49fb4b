import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startFlServer } from '../store/fl-server.ts'
import { FLISTFS, Lab, lacks } from './lab.ts'

/** More than are asked for at a time: the work comes in waves. */
const FILES = 100
const TOKEN = 'hunter2'
// Each test has a deadline of its own.
t.setTimeout(1_800_000)

/** Milliseconds a verb may take. */
const DEADLINE_MS = 240_000
const CLEAR = '\r\u001b[K'
const INTERRUPTED = 130

interface Shown {
  readonly code: number
  /** What the terminal got, from one clearing of the line to the next. */
  readonly lines: readonly string[]
}

void t.test('on a terminal', { skip: lacks('script'), timeout: 1_800_000 }, async (t) => {
  const lab = new Lab()
  t.teardown(async () => {
    const left = await lab.close()
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`)
  })
  const server = await startFlServer(t, TOKEN)
  const store = `server://http://${server.host}/base?token=${TOKEN}`
  const tree = lab.folder('tree')
  for (let file = 0; file < FILES; file += 1) writeFileSync(join(tree, `file-${file}`), `${file} `.repeat(2000))
  const here = lab.folder('here')

  /** Runs flistfs on a terminal of its own. With `interrupt` Ctrl-C is pressed once a line tells a part. */
  const onTerminal = async (words: readonly string[], interrupt = false): Promise<Shown> => {
    const command = ['exec', 'sh', FLISTFS, ...words].map((word) => `'${word}'`).join(' ')
    const { NODE_OPTIONS: _taps, ...env } = process.env
    const child = spawn('script', ['-qefc', command, '/dev/null'], {
      cwd: here,
      env: {
        ...env,
        TMPDIR: lab.path('tmp'),
        FLISTFS_RUNTIME: lab.runtime,
        FLISTFS_CACHE: lab.cache,
        FLISTFS_STORE: store,
      },
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
    })
    let text = ''
    child.stdout.on('data', (bytes: Buffer) => {
      const before = text.includes('%')
      text += bytes.toString()
      if (interrupt && !before && text.includes('%')) child.stdin.write('\u0003')
    })
    const code = await new Promise<number>((done) => child.once('close', (status) => done(status ?? 137)))
    return { code, lines: text.split(CLEAR) }
  }

  /** A part, entries where there are such, a rate, and the time left; and nothing of it stays on the terminal. */
  const shows = (t: Test, { code, lines }: Shown, doing: string, entries = true): void => {
    t.equal(code, 0, lines.join('\n'))
    const count = entries ? ', \\d+ entries' : ''
    const line = new RegExp(
      `^${doing}(?: \\S+)?: [\\d.]+ \\w+ of [\\d.]+ \\w+ \\(\\d+ %\\)${count}, [\\d.]+ \\w+/s, .* left$`,
    )
    t.ok(
      lines.some((each) => line.test(each)),
      `${doing} of ${JSON.stringify(lines)}`,
    )
    t.notMatch(lines.at(-1), /left/, 'the line is cleared')
  }

  /** The store falls silent after so many answers, which are some but not all of the work: it is not done before it is cut. */
  const cut = async (t: Test, words: readonly string[], answers: number): Promise<void> => {
    const before = readdirSync(here)
    server.answersLeft = answers
    const { code, lines } = await onTerminal(words, true)
    server.answersLeft = Infinity
    t.equal(code, INTERRUPTED, `${words[0]} ${JSON.stringify(lines)}`)
    t.match(lines.at(-1), /interrupted/)
    t.strictSame(readdirSync(here), before, `${words[0]} leaves no half of anything`)
    t.strictSame(readdirSync(lab.path('tmp')), [], 'nor a temporary folder')
  }

  await t.test('pack', { timeout: 900_000 }, async (t) => {
    server.delayMs = 150
    await cut(t, ['pack', tree, 'a.fl', '-s', store], FILES * 1.5)
    server.delayMs = 100
    server.blocks.clear()
    shows(t, await onTerminal(['pack', tree, 'a.fl', '-s', store]), 'Packing')
    const tar = lab.path('tree.tar')
    await lab.ok('tar', ['-cf', tar, '-C', tree, '.'])
    server.blocks.clear()
    shows(t, await onTerminal(['pack', tar, 'tar.fl', '-s', store]), 'Packing')
    server.blocks.clear()
    const { lines } = await onTerminal(['pack', tree, 'c.fl', '--json'])
    t.equal(lines.length, 1, 'who wants JSON is told nothing else')
    t.match(JSON.parse(lines[0] ?? ''), { archive: 'c.fl', problems: { length: 0 } })
  })

  await t.test('unpack, verify, cache pin, export and convert', { timeout: 900_000 }, async (t) => {
    const archive = join(here, 'a.fl')
    const own = ['--store', store]
    server.delayMs = 300
    await cut(t, ['unpack', archive, '--tar', 'tree.tar', ...own], FILES / 2)
    shows(t, await onTerminal(['unpack', archive, lab.path('out'), ...own]), 'Unpacking')
    t.equal(readFileSync(lab.path('out/file-7'), 'utf8'), '7 '.repeat(2000))
    shows(t, await onTerminal(['verify', archive, '--deep', ...own]), 'Checking', false)
    server.delayMs = 30
    await cut(t, ['export', archive, 'oci-archive:half.tar', ...own], FILES / 2)
    // What the interrupted one has read is in the cache.
    await lab.ok('rm', ['-rf', lab.cache])
    shows(t, await onTerminal(['export', archive, `oci:${lab.path('layout')}:it`, ...own]), 'Exporting')
    await lab.ok('rm', ['-rf', lab.cache])
    server.delayMs = 300
    shows(t, await onTerminal(['cache', 'pin', archive, '--fetch', ...own]), 'Fetching blocks', false)
    server.blocks.clear()
    server.delayMs = 150
    await cut(t, ['convert', `oci:${lab.path('layout')}:it`, 'image.fl', '-s', store], FILES * 1.5)
    server.delayMs = 100
    server.blocks.clear()
    shows(t, await onTerminal(['convert', `oci:${lab.path('layout')}:it`, 'image.fl', '-s', store]), 'Packing')
    server.delayMs = 0
  })

  await t.test('an archive that is fetched', { timeout: 900_000 }, async (t) => {
    const url = await slowly(t, readFileSync(join(here, 'a.fl')))
    shows(t, await onTerminal(['inspect', url]), 'Fetching the archive', false)
  })
})

/** A server that gives a file in pieces, with a pause before each. */
async function slowly(t: Test, bytes: Buffer): Promise<string> {
  const server: Server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': bytes.length })
    void (async () => {
      for (let part = 0; part < 10; part += 1) {
        await sleep(200)
        response.write(
          bytes.subarray(Math.ceil((bytes.length * part) / 10), Math.ceil((bytes.length * (part + 1)) / 10)),
        )
      }
      response.end()
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://[::1]:${(server.address() as AddressInfo).port}/a.fl`
}
