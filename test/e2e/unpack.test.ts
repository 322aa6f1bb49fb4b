import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { type Done, FLISTFS, type Lab, lacks, mountTest, PROJECT } from './mounted.ts'

const sample = join(PROJECT, 'fixtures/sample')
const ARCHIVE = `${sample}/debian.fl`
const golden = goldenDir() ?? ''

/** What no plain copy keeps. */
const NASTY = String.raw`
set -e
mkdir -p sparse many caps times odd special links/deep
truncate -s 300M sparse/hole; printf end >> sparse/hole; printf begin | dd of=sparse/hole conv=notrunc status=none
printf x > links/one; for n in $(seq 1 1000); do ln links/one links/deep/$n; done
mknod special/fifo p; mknod special/null c 1 3; mknod special/big b 4000 1000000; ln -s /etc/passwd special/out; ln -s ../special special/loop
touch caps/ping acl; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 caps/ping
setfattr -n user.large -v "$(head -c 40000 /dev/zero | tr '\0' v)" caps || setfattr -n user.large -v "$(head -c 3000 /dev/zero | tr '\0' v)" caps
setfacl -m u:1234:rwx,g:5678:r-x,m::rwx acl
printf b > "odd/$(printf '\377\376raw')"; printf c > "odd/$(printf 'n%.0s' $(seq 1 255))"; mkdir "odd/$(printf '\351dir')"
for n in $(seq 1 3000); do : > many/$n; done
for m in 0000 0400 4755 2755 1777 6711; do touch modes-$m; chown 12:34 modes-$m; chmod $m modes-$m; done
mkdir closed; touch closed/inside; chmod 0555 closed
touch -d '1969-12-31 23:59:58.5 UTC' times/before; touch -d '2300-01-01 UTC' times/far; touch -h -d '2001-02-03 04:05:06.7 UTC' special/out
touch -d '2020-01-02 03:04:05.060708090 UTC' many odd .
`

async function made(lab: Lab): Promise<{ tree: string; archive: string }> {
  const tree = lab.folder('tree')
  await lab.ok('sh', ['-c', NASTY], { cwd: tree })
  const archive = lab.path('nasty.fl')
  const packed = await lab.flistfs(['pack', tree, archive, '--store', `dir://${lab.folder('store')}`])
  if (packed.code !== 0) throw new Error(packed.stderr)
  return { tree, archive }
}

async function differences(lab: Lab, archive: string, directory: string): Promise<string> {
  const done = await lab.flistfs(['diff', archive, directory])
  return done.stdout.toString('latin1') + done.stderr
}

mountTest('a nasty tree comes back as it was', { skip: lacks('setfattr', 'setfacl') }, async (t, lab) => {
  const { tree, archive } = await made(lab)
  const out = lab.path('out')
  const done = await lab.flistfs(['unpack', archive, out, '--json'])
  t.equal(done.code, 0, done.stderr)
  t.equal(await differences(lab, archive, out), '')
  t.equal(await differences(lab, archive, tree), '', 'and the archive is as the tree')
  const compared = await lab.run('rsync', ['-naHAXci', '--delete', `${tree}/`, `${out}/`])
  t.equal(compared.stdout.toString('latin1'), '', 'rsync finds nothing to do')
  t.ok(statSync(`${out}/sparse/hole`).blocks < 100, 'a hole is a hole')
  const again = JSON.parse((await lab.flistfs(['unpack', archive, out, '--json'])).stdout.toString()) as {
    kept: number
    bytes: number
  }
  t.equal(again.bytes, 0, 'nothing is read a second time')
  t.equal(await differences(lab, archive, out), '')
})

mountTest('nothing outside of the folder is touched, whatever lies in it', {}, async (t, lab) => {
  const out = lab.folder('out')
  const outside = lab.folder('outside')
  await lab.ok('sh', [
    '-c',
    `printf kept > '${outside}/file'; printf kept > '${outside}/cat'; cd '${out}'; ln -s '${outside}' etc; mkdir -p usr; ln -s '${outside}' usr/bin; ln '${outside}/file' boot; printf mine > other`,
  ])
  const done = await lab.flistfs(['unpack', ARCHIVE, out, '--json'])
  t.equal(done.code, 0, done.stderr)
  t.equal(await differences(lab, ARCHIVE, out), 'A other\n', 'what is not of the archive stays')
  t.strictSame(readdirSync(outside).toSorted(), ['cat', 'file'])
  for (const name of ['cat', 'file']) t.equal(readFileSync(`${outside}/${name}`, 'utf8'), 'kept')
})

mountTest('killed at any moment, it goes on where it was', {}, async (t, lab) => {
  const out = lab.path('out')
  for (const ms of [150, 300, 450, 600, 800]) {
    const child = lab.start('sh', [FLISTFS, 'unpack', ARCHIVE, out])
    const ended = new Promise((resolve) => child.once('exit', resolve))
    setTimeout(() => child.kill('SIGKILL'), ms)
    await ended
  }
  const done = await lab.flistfs(['unpack', ARCHIVE, out])
  t.equal(done.code, 0, done.stderr)
  t.equal(await differences(lab, ARCHIVE, out), '')
})

mountTest('a user gets what a user may have, and hears of the rest', { skip: lacks('setpriv') }, async (t, lab) => {
  const { archive } = await made(lab)
  await lab.ok('chmod', ['755', lab.dir])
  const home = lab.folder('home')
  await lab.ok('chown', ['1234:1234', home])
  const words = [
    '--reuid=1234',
    '--regid=1234',
    '--clear-groups',
    'sh',
    FLISTFS,
    'unpack',
    archive,
    `${home}/out`,
    '--json',
  ]
  const env = { HOME: home, FLISTFS_CACHE: `${home}/cache` }
  for (const round of ['first', 'again']) {
    const done: Done = await lab.run('setpriv', words, { env })
    t.equal(done.code, 3, done.stderr)
    const { counts, leftOut } = JSON.parse(done.stdout.toString()) as {
      counts: Record<string, number>
      leftOut: { path: string; kind: string }[]
    }
    t.strictSame(Object.keys(counts).toSorted(), ['device', 'owner', 'xattr'], round)
    t.strictSame(
      leftOut
        .filter(({ kind }) => kind === 'device')
        .map(({ path }) => path)
        .toSorted(),
      ['special/big', 'special/null'],
    )
    t.strictSame(
      leftOut.filter(({ kind }) => kind === 'xattr').map(({ path }) => path),
      ['caps/ping'],
    )
  }
  t.equal(statSync(`${home}/out/modes-4755`).mode & 0o7777, 0o755, 'no setuid for another user')
})

mountTest('what cannot be read or written is said', {}, async (t, lab) => {
  const dead = await lab.flistfs([
    'unpack',
    ARCHIVE,
    lab.path('none'),
    '--store',
    `dir://${lab.path('nowhere')}`,
    '--json',
  ])
  t.equal(dead.code, 11, dead.stderr)
  const where = await lab.flistfs(['unpack', ARCHIVE, lab.path('a/b/c'), '--json'])
  t.match(JSON.parse(where.stderr), { error: { code: 'FLIST_SYSTEM', message: /Cannot unpack into .*ENOENT/ } })
})

mountTest('files whose blocks are missing are left out by name', { skip: NO_GOLDEN }, async (t, lab) => {
  const out = lab.path('out')
  const done = await lab.flistfs([
    'unpack',
    `${golden}/fl/missing.fl`,
    out,
    '--store',
    `dir://${golden}/fl/missing-store`,
    '--json',
  ])
  t.equal(done.code, 3)
  const { leftOut } = JSON.parse(done.stdout.toString()) as { leftOut: { path: string; kind: string }[] }
  t.strictSame(
    leftOut.map(({ path, kind }) => [kind, path]).toSorted(([, a = ''], [, b = '']) => (a < b ? -1 : 1)),
    [
      ['content', 'random-1048576'],
      ['content', 'random-4097'],
      ['content', 'random-524287'],
    ],
  )
  t.equal(await differences(lab, `${golden}/fl/missing.fl`, out), 'D random-1048576\nD random-4097\nD random-524287\n')
})
