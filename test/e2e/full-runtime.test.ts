import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { replaceFile } from '../../lib/kernel/replace-file.ts'
import { type Lab, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')

/** The second as before Linux 6.9, where what was not answered is noted in a file. */
const KERNELS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['where the kernel repeats requests', {}],
  ['where it does not', { FLISTFS_NO_RESEND: '1' }],
]

/** Takes what room the folder of records has. Gives the file that has it. */
function fill(lab: Lab): string {
  const path = join(lab.runtime, 'full')
  const fd = openSync(path, 'w')
  try {
    for (;;) writeSync(fd, Buffer.alloc(1024))
  } catch {
    return path
  } finally {
    closeSync(fd)
  }
}

mountTest('a file of the runtime folder is replaced whole or not at all', {}, async (t, lab) => {
  await lab.ok('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=700', 'tmpfs', lab.runtime])
  try {
    const path = join(lab.runtime, 'record.json')
    replaceFile(path, '{"pid":1}')
    const full = fill(lab)
    // Room for a part.
    truncateSync(full, statSync(full).size - 4096)
    const long = JSON.stringify({ pid: 2, words: 'x'.repeat(10_000) })
    t.throws(() => replaceFile(path, long), { code: 'FLIST_SYSTEM', message: /the disk is full/ })
    t.equal(readFileSync(path, 'utf8'), '{"pid":1}')
    t.strictSame(readdirSync(lab.runtime).toSorted(), ['full', 'record.json'])
    fill(lab)
    replaceFile(path, '{"pid":22}')
    t.equal(readFileSync(path, 'utf8').trim(), '{"pid":22}', 'over what stands there')
  } finally {
    await lab.ok('umount', [lab.runtime])
  }
})

async function listed(lab: Lab): Promise<{ pid: number; state: string }[]> {
  return JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString('utf8')) as { pid: number; state: string }[]
}

for (const [kernel, env] of KERNELS)
  mountTest(`mounts go on where the folder of their records is full, ${kernel}`, {}, async (t, lab) => {
    await lab.ok('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'tmpfs', lab.runtime])
    try {
      const mounted = await lab.mount(SAMPLE, { env })
      const all = ['-c', 'cd "$0" && find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum', mounted.directory]
      const right = await lab.ok('sh', all)
      const full = fill(lab)

      process.kill(mounted.pid, 'SIGKILL')
      await lab.ok('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
      t.equal(await lab.ok('sh', all), right, 'the next server serves')
      await until(async () => (await listed(lab))[0]?.pid !== mounted.pid)
      const [after] = await listed(lab)
      t.match(after, { state: 'mounted' })
      t.match(await lab.flistfs(['upgrade', mounted.directory]), { code: 0 }, 'and can be replaced')
      t.not((await listed(lab))[0]?.pid, after?.pid)
      t.equal(lab.logs().match(/another server goes on/g)?.length, 2, 'one followed each')

      const refused = await lab.tryMount(SAMPLE, { env, words: ['--own-process'] })
      t.match(refused, { code: 1 }, 'another mount is refused')
      const { error } = JSON.parse(refused.stderr) as { error: { message: string; hint: string } }
      t.match(error.message, /^Cannot write "[^"]*\/run\/[^"]*": the disk is full \(ENOSPC\)$/)
      t.match(error.hint, /Make room .* FLISTFS_RUNTIME/)
      t.match(await lab.flistfs(['umount', mounted.directory]), { code: 0 }, 'an unmount ends')
      rmSync(full)
      t.strictSame(readdirSync(lab.runtime), [])
    } finally {
      await until(() => lab.servers().length === 0, 20_000).catch(() => undefined)
      await lab.run('umount', ['--lazy', lab.runtime])
    }
  })

mountTest('a mount whose record was removed is found again, and goes on', {}, async (t, lab) => {
  const mounted = await lab.mount(SAMPLE)
  await lab.stats(mounted)
  const names = readdirSync(lab.runtime)
  for (const name of names) rmSync(join(lab.runtime, name))
  const [record = ''] = names.filter((name) => name.endsWith('.json'))
  await until(() => existsSync(join(lab.runtime, record)), 60_000)
  process.kill(mounted.pid, 'SIGKILL')
  t.match(await lab.run('sha256sum', [join(mounted.directory, 'usr/bin/bash')]), { code: 0, stderr: '' })
  t.match(await listed(lab), [{ state: 'mounted' }])
  await until(async () => (await lab.flistfs(['stats', mounted.directory])).code === 0)
  await lab.umount(mounted)
})

mountTest('a mount goes on where the folder of its record is read-only', {}, async (t, lab) => {
  await lab.ok('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'tmpfs', lab.runtime])
  try {
    const mounted = await lab.mount(SAMPLE)
    await lab.ok('mount', ['-o', 'remount,ro', lab.runtime])
    process.kill(mounted.pid, 'SIGKILL')
    // Nothing is in the cache: the fetch thread is asked.
    t.match(await lab.run('sha256sum', [join(mounted.directory, 'usr/bin/bash')]), { code: 0, stderr: '' })
    t.match(lab.logs(), /stats, why, log-level and trace cannot be asked .*Cannot listen on/)
    t.match(await lab.flistfs(['umount', mounted.directory]), { code: 0 }, 'an unmount ends')
  } finally {
    await until(() => lab.servers().length === 0, 20_000).catch(() => undefined)
    await lab.run('umount', ['--lazy', lab.runtime])
  }
})
