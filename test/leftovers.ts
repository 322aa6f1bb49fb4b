import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/*
 * `leftovers.ts FOLDER [SECONDS]`: what a run of the tests has left, whose temporary folder FOLDER was (test/run.sh): processes, mounts, files. Each
 * is named; processes and mounts are taken away, files stay to be looked at. Ends with 1 where there was anything.
 */
const FUSECTL = '/sys/fs/fuse/connections'
/** Where tap's own folders of tests are. */
const FIXTURES = resolve(import.meta.dirname, '../.tap/fixtures')
/** Of the run itself; and what a torture that failed has written to be looked at, which it has named. */
const EXPECTED = /^(?:published|flistfs-torture--?\d+\.log)$/

const folder = resolve(process.argv[2] ?? '')
/** What is ending by itself has so long. */
const patienceMs = Number(process.argv[3] ?? 60) * 1000

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Processes with our folder among their words, or in the environment that they began with. */
function processes(): { pid: number; words: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && Number(name) !== process.ppid)
    .map((name) => ({ pid: Number(name), words: textOf(`/proc/${name}/cmdline`).replaceAll('\0', ' ') }))
    .filter(({ pid, words }) => `${words}${textOf(`/proc/${pid}/environ`)}`.includes(folder))
}

/** Mounts below our folder and the folders of tests, newest first. */
function mounts(): { directory: string; minor: string }[] {
  const fields = textOf('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' '))
  return fields
    .map((line) => ({ directory: unescape(line[4] ?? ''), minor: line[2]?.split(':')[1] ?? '' }))
    .filter(({ directory }) => [folder, FIXTURES].some((place) => directory.startsWith(`${place}/`)))
    .toReversed()
}

/** mountinfo writes blanks, tabs, newlines and backslashes as three octal digits. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** Who still waits for a dead server is let go of first. */
function unmount(directory: string, minor: string): void {
  const abort = `${FUSECTL}/${minor}/abort`
  if (existsSync(abort)) writeFileSync(abort, '1')
  spawnSync('umount', ['--lazy', '--internal-only', directory], { stdio: 'ignore', timeout: 120_000 })
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

for (const late = performance.now() + patienceMs; processes().length > 0 && performance.now() < late;) await sleep(500)

const left: string[] = []
for (const { pid, words } of processes()) {
  left.push(`process ${pid}: ${words}`)
  end(pid)
}
for (const { directory, minor } of mounts()) {
  left.push(`mount ${directory}`)
  if (directory.startsWith(`${folder}/`)) unmount(directory, minor)
}
for (const name of readdirSync(folder)) if (!EXPECTED.test(name)) left.push(`file ${join(folder, name)}`)
for (const what of left) console.log(`not ok - left by the tests: ${what}`)
process.exitCode = left.length > 0 ? 1 : 0
