import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { EXAMPLES } from '../../bin/examples.ts'
import { World } from './examples/world.ts'
import { lacks, mountTest, PROJECT, until } from './mounted.ts'

const DIGEST = createHash('sha256')
  .update(readFileSync(join(PROJECT, 'fixtures/sample/debian.fl')))
  .digest('hex')
/** The only words of examples that are not run as they stand: a digest that ends in dots. */
const DOTS = /sha256:[0-9a-f]+\.\.\./
/** Verbs of a live mount. */
const OF_MOUNTS = new Set(['umount', 'upgrade', 'stats', 'why', 'log-level', 'trace', 'list'])
/** What stands before an example, as the text beside it says. */
const BEFORE: Readonly<Record<string, string>> = {
  'verify app.fl --key release.pub': 'flistfs keygen release && flistfs sign app.fl --key release',
  'sign app.fl --key release': 'flistfs keygen release',
  'tag debian.fl version=12 --remove draft': 'flistfs tag debian.fl draft=1',
  'convert debian:12 debian.fl --store dir:///srv/blocks':
    'flistfs export debian.fl registry-1.docker.io/library/debian:12',
  'trace /mnt/debian --off': 'flistfs trace /mnt/debian debian.trace',
  'diff debian.fl /srv/debian --ignore mtime --stat': 'flistfs unpack debian.fl /srv/debian',
  'cache unpin debian.fl': 'flistfs cache pin debian.fl',
  'convert oci-archive:app.tar app.fl --store dir:///srv/blocks --no-startup':
    'flistfs export app.fl oci-archive:app.tar',
}
/** What comes through a pipe. */
const PIPED: Readonly<Record<string, string>> = {
  'pack - app.fl --store dir:///srv/blocks': 'tar -C /srv/image -c .',
}
/** Examples that stay until Ctrl-C. */
const STAYS = /^(?:demo|stats .*--watch|stats --watch|mount .*--foreground)/
/** Why an example runs on a special machine only, or false. */
function elsewhere(words: string, world: World): string | false {
  if (words.startsWith('convert quay.io/')) return 'needs quay.io, and an image of that digest'
  if (/s3s?:\/\//.test(words) && world.missing.s3 !== false) return world.missing.s3
  if (/registry\.example\.org|debian:12/.test(words) && world.missing.registry !== false) return world.missing.registry
  return false
}

void t.test('what is said about an example is said of one that is there', (t) => {
  const all = new Set(Object.values(EXAMPLES).flatMap((examples) => examples.map(([words]) => words)))
  for (const words of [BEFORE, PIPED].flatMap((table) => Object.keys(table)))
    t.ok(all.has(words), `bin/examples.ts has "${words}"`)
  t.end()
})

const skip = lacks('openssl', 'nsenter', 'unshare')
for (const [verb, examples] of Object.entries(EXAMPLES)) {
  mountTest(`examples of flistfs ${verb}`, { skip }, async (t, lab) => {
    const world = await World.open(t, lab, examples.map(([words]) => words).join('\n'))
    for (const [words] of examples) {
      await t.test(words, { skip: elsewhere(words, world) }, async (t) => {
        if (OF_MOUNTS.has(verb)) await ok(t, world, 'flistfs mount debian.fl /mnt/debian')
        if (BEFORE[words] !== undefined) await ok(t, world, BEFORE[words])
        const line = `flistfs ${words.replace(DOTS, `sha256:${DIGEST}`)}`
        if (STAYS.test(words)) await stays(t, world, line)
        else {
          const piped = PIPED[words]
          const done = await world.run(piped === undefined ? line : `${piped} | ${line}`)
          t.equal(done.code, 0, `${done.stderr}${done.stdout.toString('utf8', 0, 2000)}`)
          await effect(t, world, words)
        }
        if (OF_MOUNTS.has(verb) || verb === 'mount') await world.tidy()
      })
    }
  })
}

async function ok(t: Test, world: World, line: string): Promise<void> {
  const done = await world.run(line)
  t.equal(done.code, 0, `${line}: ${done.stderr}`)
}

/** Runs it until it has said or done something, then presses Ctrl-C. */
async function stays(t: Test, world: World, line: string): Promise<void> {
  const child = world.start(line)
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (bytes: Buffer) => (said += bytes.toString()))
  const ended = once(child, 'close')
  const mounts = line.includes('--foreground')
  const last = line.includes('demo') ? 'Ctrl-C' : '\n'
  await until(async () => {
    if (child.exitCode !== null) return true
    return mounts ? (await world.run('test -e /mnt/debian/etc')).code === 0 : said.includes(last)
  })
  child.kill('SIGINT')
  const [code] = (await ended) as [number | null]
  t.equal(code, 0, said)
}

/** What must be there after some examples. */
async function effect(t: Test, world: World, words: string): Promise<void> {
  const mounted = /^mount \S+ (\S+)/.exec(words)?.[1]
  if (mounted !== undefined) await ok(t, world, `cat ${mounted}/etc/debian_version`)
  if (words.startsWith('umount')) await ok(t, world, 'test ! -e /mnt/debian/etc')
  const written = /^(?:pack|convert) \S+ (\S+)/.exec(words)?.[1]
  if (written !== undefined) await ok(t, world, `flistfs inspect ${written}`)
}
