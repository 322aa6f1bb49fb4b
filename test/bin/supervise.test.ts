import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'

const SUPERVISE = resolve(import.meta.dirname, '../../bin/supervise')

/** In the place of bin/node: a server, and a successor that is half a program. */
const NODE = `case $2 in
  mount) kill -USR1 "$FLISTFS_SUPERVISOR"; : >serves; while :; do sleep 0.1; done ;;
  resume) sh -c 'echo $PPID' >>began; exit 1 ;;
esac
`

/** Where processes are numbered as we say: the number of a successor that failed becomes another's. */
const REUSE = `began() { until [ "$(grep -c . began 2>/dev/null)" = "$1" ]; do sleep 0.01; done; }
"$1" "$2" ./node main mount & supervisor=$!
# It waits for its server.
until [ -e serves ] && grep -q '^[0-9]* (.*) S' /proc/$supervisor/stat; do sleep 0.01; done
kill -USR2 $supervisor
began 1
gone=$(cat began)
while kill -0 "$gone" 2>/dev/null; do sleep 0.01; done
echo $((gone - 1)) >/proc/sys/kernel/ns_last_pid; sleep 60 & other=$!
[ "$other" = "$gone" ] || echo "$other is not $gone" >&2
kill -USR2 $supervisor
began 2
`

for (const shell of ['dash', 'bash']) {
  const skip = process.getuid?.() !== 0 ? 'needs root' : !has('unshare', shell) && `needs unshare and ${shell}`
  t.test(`another process with the number of a successor is none, under ${shell}`, { skip }, async (t) => {
    const dir = t.testdir({ node: NODE })
    const words = ['--pid', '--fork', '--kill-child', '--mount-proc', shell, '-c', REUSE, shell, shell, SUPERVISE]
    const { status, stderr } = spawnSync('unshare', words, { cwd: dir, timeout: 20_000, killSignal: 'SIGKILL' })
    t.equal(status, 0)
    t.equal(stderr.toString(), '')
    t.equal(readFileSync(join(dir, 'began'), 'utf8').trim().split('\n').length, 2, 'two were started')
  })
}

/** Serves, and dies of what it does next. */
const DOOMED = `echo "$2" >>began
kill -USR1 "$FLISTFS_SUPERVISOR"
exit 1
`

t.test('a server that serves and dies again and again is given breaks, and goes on having them', async (t) => {
  const dir = t.testdir({ node: DOOMED, began: '' })
  const start = performance.now()
  const words = [SUPERVISE, './node', 'main', 'mount']
  const supervisor = spawn('sh', words, { cwd: dir, stdio: 'ignore', detached: true })
  // 50 at once, then breaks of 0.1, 1, 5 and 5 s. Where a break counts as a life, the last of them is none.
  while (readFileSync(join(dir, 'began'), 'utf8').split('\n').length <= 55) await sleep(50)
  process.kill(-(supervisor.pid ?? Number.NaN), 'SIGKILL')
  t.ok(performance.now() - start > 10_000)
})

for (const shell of ['dash', 'bash']) {
  const skip = !has(shell) && `needs ${shell}`
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    t.test(`${signal} before the server listens ends it, under ${shell}`, { skip, timeout: 60_000 }, async (t) => {
      const dir = t.testdir({ node: 'exec sh -c ": >begun; exec sleep 50"' })
      const env = { ...process.env, FLISTFS_LAUNCHER: '' }
      const supervisor = spawn(shell, [SUPERVISE, './node', 'main', 'mount'], { cwd: dir, env, stdio: 'ignore' })
      const ended = once(supervisor, 'exit')
      t.teardown(() => supervisor.kill('SIGKILL'))
      while (!existsSync(join(dir, 'begun'))) await sleep(10)
      supervisor.kill(signal)
      t.strictSame(await Promise.race([ended, sleep(20_000, 'it went on', { ref: false })]), [130, null])
    })
  }
}

function has(...programs: string[]): boolean {
  const path = (process.env['PATH'] ?? '').split(':')
  return programs.every((program) => path.some((dir) => existsSync(join(dir, program))))
}
