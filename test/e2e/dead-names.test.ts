import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FLISTFS, type Lab, lacks, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const SKIP = lacks('unshare', 'ip', 'mount')
/** Milliseconds: a name is looked up for ten seconds and more. */
const SOON_MS = 5_000

/** A server of names that takes questions, and answers none; and a command in its network, which is asked to end when it has asked. */
const PROGRAM = `
  const { createSocket } = require('node:dgram')
  const { spawn } = require('node:child_process')
  const [signal, ...words] = process.argv.slice(1)
  const server = createSocket('udp4')
  server.bind(53, '127.0.0.77', () => {
    const child = spawn('sh', words, { stdio: ['ignore', 'inherit', 'inherit'] })
    let asked = 0
    const end = () => { asked = performance.now(); signal === '' || child.kill(signal) }
    server.once('message', end)
    child.on('exit', (code) => {
      if (signal === '') end()
      process.stdout.write('ended ' + code + ' ' + Math.round(performance.now() - asked) + '\\n')
      process.exit()
    })
  })
  setTimeout(() => process.exit(1), 120_000)`

/** $0: Node.js, $1: the folder, $2: what the program runs, then its words. */
const WITHOUT_NAMES = `
  ip link set lo up && mount --bind "$1/resolv" /etc/resolv.conf || exit
  program=$2
  shift 2
  exec "$0" -e "$program" "$@"`

interface Ended {
  readonly code: number
  /** Since it was asked. */
  readonly ms: number
  readonly stderr: string
  readonly said: string
}

/** Runs `sh WORDS...` where no name is known, and tells how it ended; with a signal, which comes as soon as a name is asked for. */
async function withoutNames(lab: Lab, signal: '' | NodeJS.Signals, words: readonly string[]): Promise<Ended> {
  writeFileSync(lab.path('resolv'), 'nameserver 127.0.0.77\n')
  const shell = ['sh', '-c', WITHOUT_NAMES, process.execPath, lab.dir, PROGRAM, signal, ...words]
  const done = await lab.run('unshare', ['-mn', '--propagation', 'private', ...shell])
  const said = done.stdout.toString()
  const [, code, ms] = /ended (\w+) (\d+)/.exec(said) ?? []
  return { code: Number(code), ms: Number(ms), stderr: done.stderr, said }
}

mountTest('a mount whose metrics wait for a name ends at once', { skip: SKIP }, async (t, lab) => {
  lab.folder('at')
  const script = `
    sh "$0" mount "$1" at --metrics nowhere.example.org:9100 && cat at/etc/debian_version || exit
    sleep 0.5
    date +%s%N
    sh "$0" umount at
    date +%s%N`
  const { code, said } = await withoutNames(lab, '', ['-c', script, FLISTFS, SAMPLE])
  const [from = 0, to = 0] = said.match(/^\d{19}$/gm)?.map((text) => Number(text) / 1e6) ?? []
  t.equal(code, 0)
  t.comment(`${Math.round(to - from)} ms`)
  t.ok(from > 0 && to - from < SOON_MS)
  await until(() => lab.servers().length === 0)
})

mountTest('verbs that wait for a name end at once when they are interrupted', { skip: SKIP }, async (t, lab) => {
  const [url, at] = ['http://nowhere.example.org/x.fl', lab.folder('at')]
  const verbs = [
    ['inspect', url],
    ['mount', url, at],
    ['mount', '--foreground', url, at],
    ['cat', '--store', 'http://nowhere.example.org/', SAMPLE, 'bin/bash'],
    ['pack', '--store', 'zdb://nowhere.example.org:9900/ns', lab.folder('tree'), lab.path('packed.fl')],
    ['convert', 'docker://nowhere.example.org/x', lab.path('converted.fl'), '--store', `dir:${lab.path('store')}`],
  ]
  writeFileSync(lab.path('tree/file'), 'content')
  for (const words of verbs) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const { code, ms, stderr } = await withoutNames(lab, signal, [FLISTFS, ...words])
      t.match({ code, stderr }, { code: 130, stderr: /interrupted\n$/ }, `${words.join(' ')} ${signal}`)
      t.ok(ms < SOON_MS, `${ms} ms`)
    }
  }
  await until(() => lab.servers().length === 0)
})
