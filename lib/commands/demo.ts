import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { displaySize, FlistError } from '../base/index.ts'
import { type ServerStats, stats } from './stats.ts'

/** The files that are shown: a text to print, and a program of several blocks. */
const TEXT_FILE = 'usr/lib/os-release'
const LARGE_FILE = 'usr/bin/bash'
/** Milliseconds until the mount must be there, and until it must be gone. */
const MOUNT_MS = 30_000
const END_MS = 15_000

export type Say = (text: string, value: Readonly<Record<string, unknown>>) => void

/**
 * Mounts the sample archive on a fresh folder, shows a listing and two files with what was fetched for them, and stays until
 * `signal` aborts. `program` starts flistfs: the mount has a process of its own, because who serves a mount must not read it.
 */
export async function demo(program: readonly string[], json: boolean, say: Say, signal: AbortSignal): Promise<number> {
  checkRights()
  const archive = findSample()
  const work = mkdtempSync(join(tmpdir(), 'flistfs-demo-'))
  const directory = join(work, 'tree')
  mkdirSync(directory)
  const server = startServer(program, [
    'mount',
    archive,
    directory,
    '--foreground',
    // It says by itself why it cannot, as we would.
    ...(json ? ['--json'] : []),
    '--cache',
    join(work, 'cache'),
  ])
  try {
    await untilMounted(server, signal)
    await show(archive, directory, say, signal)
    await untilEnd(server, signal)
    return signal.aborted ? 0 : (server.exitCode ?? 1)
  } catch (error) {
    if (signal.aborted) return 130
    throw error
  } finally {
    await stopServer(server)
    rmSync(join(work, 'cache'), { recursive: true, force: true })
    // Never recursively: should it still be mounted, what is in there is not ours to remove.
    rmdirSync(directory)
    rmdirSync(work)
  }
}

/** Throws FLIST_NOT_PERMITTED that says what is missing and how to get it. */
function checkRights(): void {
  if (!existsSync('/dev/fuse')) {
    throw new FlistError('FLIST_NOT_PERMITTED', 'Cannot mount the sample: there is no /dev/fuse', {
      hint: 'Run `modprobe fuse`; for a container add --device /dev/fuse --cap-add SYS_ADMIN',
    })
  }
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch (error) {
    throw new FlistError('FLIST_NOT_PERMITTED', 'Cannot mount the sample: /dev/fuse may not be opened', {
      hint: 'Let root say: chmod 666 /dev/fuse (most systems have it so), or run this as root',
      cause: error,
    })
  }
}

/** Beside `lib` in the source, beside `dist` when published. */
function findSample(): string {
  const candidates = ['../../fixtures/sample', '../fixtures/sample'].map((path) => join(import.meta.dirname, path))
  const sample = candidates.map((dir) => join(dir, 'debian.fl')).find((path) => existsSync(path))
  if (sample === undefined)
    throw new FlistError('FLIST_NOT_FOUND', 'Cannot find the sample archive "fixtures/sample/debian.fl"')
  return sample
}

function startServer(program: readonly string[], words: readonly string[]): ChildProcess {
  const [command = process.execPath, ...first] = program
  // In a group of its own: Ctrl-C reaches the demo only, which then asks the server once. Twice would cut readers off.
  return spawn(command, [...first, ...words], { stdio: ['ignore', 'pipe', 'inherit'], detached: true, env: bareEnv() })
}

/** Without settings, which are for other mounts: with them the sample might find no block. */
function bareEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('FLISTFS_') || name === 'FLISTFS_RUNTIME',
  )
  return { ...Object.fromEntries(kept), FLISTFS_CONFIG: '' }
}

/** The first line of the server's output comes once it is mounted; when it cannot, its own message is on stderr already. */
async function untilMounted(server: ChildProcess, signal: AbortSignal): Promise<void> {
  if (server.stdout === null) throw new TypeError('the server needs a pipe for its output')
  const lines = createInterface({ input: server.stdout })
  const waiting = AbortSignal.any([signal, AbortSignal.timeout(MOUNT_MS)])
  const line = once(lines, 'line', { signal: waiting })
  const closed = once(lines, 'close', { signal: waiting }).then(() => 'closed' as const)
  // The loser of the race is rejected when the wait ends.
  line.catch(() => undefined)
  closed.catch(() => undefined)
  if ((await Promise.race([line, closed])) === 'closed') {
    throw new FlistError('FLIST_MOUNT_FAILED', 'Cannot show the sample: it could not be mounted', {
      hint: 'What is said above tells why; docs/rootless.md says what a user needs',
    })
  }
}

async function show(archive: string, directory: string, say: Say, signal: AbortSignal): Promise<void> {
  const names = readdirSync(directory).toSorted()
  say(`${archive}\nis mounted on ${directory}\n\n$ ls ${directory}\n${names.join('  ')}\n`, { directory, names })
  for (const name of [TEXT_FILE, LARGE_FILE]) {
    const before = await fetched(directory, signal)
    const content = readFileSync(join(directory, name))
    const after = await fetched(directory, signal)
    const shown = name === TEXT_FILE ? content.toString('utf8') : `${displaySize(content.length)} read\n`
    const blocks = after.blocks - before.blocks
    const cost = `(fetched for this: ${blocks} ${blocks === 1 ? 'block' : 'blocks'}, ${displaySize(after.bytes - before.bytes)})`
    say(`\n$ cat ${join(directory, name)}\n${shown}${cost}\n`, { file: name, bytes: content.length, blocks })
  }
  say('\nLook around in it from another terminal; Ctrl-C unmounts.\n', { waiting: true })
}

/** Blocks that are here, and bytes that came from the store. */
async function fetched(directory: string, signal: AbortSignal): Promise<{ blocks: number; bytes: number }> {
  const [answer] = await stats(directory, signal)
  const { blocks, stores } = answer as unknown as ServerStats
  const bytes = stores.reduce((sum, store) => sum + Number(store['bytes'] ?? 0), 0)
  return { blocks: blocks.cached, bytes }
}

async function untilEnd(server: ChildProcess, signal: AbortSignal): Promise<void> {
  if (server.exitCode !== null || signal.aborted) return
  await once(server, 'exit', { signal }).catch(() => undefined)
}

async function stopServer(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  server.kill('SIGTERM')
  await once(server, 'exit', { signal: AbortSignal.timeout(END_MS) }).catch(() => server.kill('SIGKILL'))
}
