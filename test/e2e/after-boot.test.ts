// Alone: a namespace of its own has all mounts of the machine in it, those of other tests too.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { processStart } from '../../lib/kernel/processes.ts'
import { type Lab, mountTest, PROJECT, type RunOptions } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const FLISTFS = `sh '${join(PROJECT, 'bin/flistfs')}'`

/** A script, on a machine whose kernel says that it has booted again: a file lies over what it says. */
function afterBoot(lab: Lab, script: string, options: RunOptions = {}): Promise<string> {
  writeFileSync(lab.path('boot'), '00000000-0000-4000-8000-000000000000\n')
  const prepare = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && exec sh -ec "$2"'
  const words = ['--mount', '--propagation', 'private', 'sh', '-c', prepare, 'sh', lab.path('boot'), script]
  return lab.ok('unshare', words, options)
}

/** The mounts are gone and their processes too, as after a boot; but all their numbers have come again, and name this process. */
async function leaveAsABootWould(lab: Lab, directories: readonly string[], pid: number): Promise<void> {
  await lab.killAll()
  for (const directory of directories) await lab.ok('umount', ['--lazy', directory])
  const name = { pid, pidStart: processStart(pid) }
  for (const file of readdirSync(lab.runtime)) {
    const path = join(lab.runtime, file)
    if (file.endsWith('.json')) {
      const record = JSON.parse(readFileSync(path, 'utf8')) as object
      writeFileSync(path, JSON.stringify({ ...record, ...name, supervisor: name, holder: name }))
    } else if (file.endsWith('.server')) {
      const owners = JSON.parse(readFileSync(path, 'utf8')) as object[]
      writeFileSync(path, JSON.stringify(owners.map((owner) => ({ ...owner, ...name }))))
    }
  }
}

mountTest("what yesterday's boot left is cleared away, and harms nobody", {}, async (t, lab) => {
  // None of those that `killAll` knows by what they inherited.
  const bystander = lab.start('sleep', ['1000'], { env: { FLISTFS_RUNTIME: '' } })
  const upper = lab.path('changes')
  const plain = await lab.mount(SAMPLE)
  const passing = await lab.mount(SAMPLE, { words: ['--rw'] })
  const kept = await lab.mount(SAMPLE, { words: ['--upper', upper] })
  await lab.ok('touch', [join(passing.directory, 'root/passing'), join(kept.directory, 'root/kept')])
  const places = [plain, passing, kept].map(({ directory }) => directory)
  await leaveAsABootWould(lab, places, bystander.pid ?? 0)
  const owner = join(upper, 'in-use')
  const [, , ...boot] = readFileSync(owner, 'utf8').split(' ')
  writeFileSync(owner, [bystander.pid, processStart(bystander.pid ?? 0), ...boot].join(' '))
  const rw = join(lab.cache, 'v1/rw')
  t.equal(readdirSync(rw).length, 1)

  const before = JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString()) as { state: string }[]
  t.strictSame(
    before.map(({ state }) => state),
    ['leaving', 'leaving', 'leaving'],
    'by its numbers alone nothing tells them from mounts of now',
  )

  const runtime = lab.folder('run-of-later')
  await lab.ok('cp', ['-a', `${lab.runtime}/.`, runtime])
  const verbs = [`${FLISTFS} list --json`, `! ${FLISTFS} stats '${plain.directory}' 2>/dev/null`]
  for (const verb of verbs) {
    await lab.ok('cp', ['-a', `${runtime}/.`, lab.runtime])
    t.match(await afterBoot(lab, verb), /^(?:\[\]\n)?$/, verb)
    t.strictSame(readdirSync(lab.runtime), [], 'nothing is left')
  }
  t.notOk(existsSync(rw) && readdirSync(rw).length > 0, 'changes that were to be thrown away are')

  await lab.ok('cp', ['-a', `${runtime}/.`, lab.runtime])
  const mount = `${FLISTFS} mount '${SAMPLE}' '${kept.directory}' --upper '${upper}'
    ls '${kept.directory}/root'
    ${FLISTFS} list --json | grep -c '"state":"mounted"'
    ${FLISTFS} umount '${kept.directory}'`
  t.match(await afterBoot(lab, mount), /^kept\n1\n$/, 'the same mount again, with its changes')
  t.strictSame(readdirSync(lab.runtime), [], 'nothing is left')
  t.equal(bystander.exitCode ?? bystander.signalCode, null, 'who has their numbers now lives')
})

mountTest(
  'changes to throw away whose record was lost with the power go with the next writable mount',
  {},
  async (t, lab) => {
    const passing = await lab.mount(SAMPLE, { words: ['--rw'] })
    await lab.ok('touch', [join(passing.directory, 'root/passing')])
    await lab.killAll()
    await lab.ok('umount', ['--lazy', passing.directory])
    // The folder of records was in memory.
    for (const file of readdirSync(lab.runtime)) await lab.ok('rm', ['-rf', join(lab.runtime, file)])
    const rw = join(lab.cache, 'v1/rw')
    const [elder] = readdirSync(rw)
    await lab.umount(await lab.mount(SAMPLE, { words: ['--rw'] }))
    t.strictSame(readdirSync(rw), [elder], 'in this boot they may be somebody’s')
    const again = `${FLISTFS} mount '${SAMPLE}' '${passing.directory}' --rw
    ls '${rw}'; ls '${passing.directory}/root'
    ${FLISTFS} umount '${passing.directory}'`
    t.notMatch(await afterBoot(lab, again), new RegExp(`${elder}|passing`))
    t.strictSame(readdirSync(rw), [])
  },
)
