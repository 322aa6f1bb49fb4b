import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { FLISTFS, type Lab, lacks, mountTest, PROJECT } from './mounted.ts'

const ARCHIVE = join(PROJECT, 'fixtures/sample/debian.fl')
const PROGRAM = `sh '${FLISTFS}'`
const golden = goldenDir() ?? ''

const NASTY = String.raw`
set -e
mkdir -p sparse times odd special links/deep "$(printf 'deep%.0s' $(seq 1 40))/$(printf 'down%.0s' $(seq 1 40))"
truncate -s 300M sparse/hole; printf end >> sparse/hole; printf begin | dd of=sparse/hole conv=notrunc status=none
truncate -s 3M sparse/empty; truncate -s 2M sparse/tail; printf x | dd of=sparse/tail conv=notrunc status=none
printf x > links/one; for n in $(seq 1 20); do ln links/one links/deep/$n; done; ln links/one "$(printf 'deep%.0s' $(seq 1 40))/one"
mknod special/fifo p; mknod special/null c 1 3; mknod special/big b 4000 1000000; ln -s /etc/passwd special/out
ln -s "$(printf 'far/%.0s' $(seq 1 100))" special/long
touch acl capable; mkdir shared; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 capable
setfattr -n user.line -v "$(printf 'a\nb=c')" acl
setfacl -m u:1234:rwx,g:5678:r-x,m::rwx acl; setfacl -d -m u:1234:r-x shared
printf b > "odd/$(printf '\377\376raw')"; printf c > "odd/$(printf 'n%.0s' $(seq 1 255))"; mkdir "odd/$(printf '\351dir')"
for m in 0000 4755 2755 1777; do touch modes-$m; chown 12:34 modes-$m; chmod $m modes-$m; done; touch rich; chown 3000000:4000000 rich
touch -d '1969-12-31 23:59:58.5 UTC' times/before; touch -d '2300-01-01 UTC' times/far; touch -h -d '2001-02-03 04:05:06.7 UTC' special/out
touch -d '2020-01-02 03:04:05.060708090 UTC' odd .
`

async function packed(lab: Lab, script: string): Promise<string> {
  const tree = lab.folder('tree')
  await lab.ok('sh', ['-c', script], { cwd: tree })
  const archive = lab.path('nasty.fl')
  const done = await lab.flistfs(['pack', tree, archive, '--store', `dir://${lab.folder('store')}`])
  if (done.code !== 0) throw new Error(done.stderr)
  return archive
}

async function differences(lab: Lab, archive: string, other: string): Promise<string> {
  const done = await lab.flistfs(['diff', archive, other])
  return done.stdout.toString('latin1') + done.stderr
}

mountTest('GNU tar makes of it what was packed', { skip: lacks('setfattr', 'setfacl', 'tar') }, async (t, lab) => {
  const archive = await packed(lab, NASTY)
  const tar = lab.path('a.tar')
  const done = await lab.flistfs(['unpack', archive, '--tar', tar, '--json'])
  t.equal(done.code, 0, done.stderr)
  t.ok(statSync(tar).size < 4 * 1024 * 1024, 'holes are not written')
  const out = lab.folder('out')
  await lab.ok('tar', ['--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '-xpf', tar, '-C', out])
  t.equal(await differences(lab, archive, out), '')
  t.ok(statSync(`${out}/sparse/hole`).blocks < 5000, 'a hole is a hole')
  const acls = lab.folder('acls')
  await lab.ok('tar', ['--acls', '--numeric-owner', '-xpf', tar, '-C', acls])
  t.match(await lab.ok('getfacl', ['--numeric', '--omit-header', 'acl', 'shared'], { cwd: acls }), /user:1234:rwx/)
  const piped = await lab.run('sh', ['-c', `${PROGRAM} unpack '${archive}' --tar -`])
  t.equal(piped.code, 0, piped.stderr)
  t.equal(piped.stderr, '', 'nothing is said in a pipe')
  t.ok(piped.stdout.equals(readFileSync(tar)), 'the same bytes again')
})

mountTest('a pipe to pack makes the same archive', { skip: lacks('setfattr', 'setfacl') }, async (t, lab) => {
  const archive = await packed(lab, `${NASTY}setfattr -n user.a=b -v c acl`)
  const [again, third] = [lab.path('again.fl'), lab.path('third.fl')]
  const store = `dir://${lab.path('store')}`
  await lab.ok('sh', ['-c', `${PROGRAM} unpack ${archive} --tar - | ${PROGRAM} pack - ${again} --store ${store}`])
  t.equal(await differences(lab, archive, again), '')
  await lab.ok('sh', ['-c', `${PROGRAM} unpack ${again} --tar - | ${PROGRAM} pack - ${third} --store ${store}`])
  t.ok(readFileSync(again).equals(readFileSync(third)), 'and then the same bytes')
  const acls = `tar --acls -C '${lab.path('tree')}' -c acl shared | ${PROGRAM} pack - ${lab.path('acls.fl')} --store ${store}`
  await lab.ok('sh', ['-c', acls])
  const stat = await lab.ok('sh', ['-c', `${PROGRAM} stat --json ${lab.path('acls.fl')} acl shared`])
  t.match(stat, /system\.posix_acl_access/, 'ACLs that tar writes are read')
  t.match(stat, /system\.posix_acl_default/)
})

mountTest('a reader that leaves ends it quietly', {}, async (t, lab) => {
  const done = await lab.run('sh', ['-c', `(${PROGRAM} unpack '${ARCHIVE}' --tar -; echo $? >&2) | head -c 1000`])
  t.equal(done.stdout.length, 1000)
  t.equal(done.stderr.trim(), '0')
})

mountTest('files whose blocks are missing are left out by name', { skip: NO_GOLDEN }, async (t, lab) => {
  const words = ['unpack', `${golden}/fl/missing.fl`, '--store', `dir://${golden}/fl/missing-store`]
  const done = await lab.flistfs([...words, '--tar', '-', '--json'])
  t.equal(done.code, 3, done.stderr)
  const { leftOut } = JSON.parse(done.stderr) as { leftOut: { path: string; kind: string }[] }
  const missing = ['random-1048576', 'random-4097', 'random-524287']
  t.strictSame(leftOut.map(({ path }) => path).toSorted(), missing)
  const tar = lab.path('part.tar')
  t.equal((await lab.flistfs([...words, '--tar', tar])).code, 3)
  const names = (await lab.ok('tar', ['-tf', tar])).split('\n')
  t.notOk(missing.some((name) => names.includes(`./${name}`) || names.includes(name)))
})

mountTest('a file that turns out torn behind its header ends the tar there', {}, async (t, lab) => {
  const archive = await packed(lab, 'head -c 41953040 /dev/urandom > large; printf first > a; printf last > z')
  const store = lab.path('store')
  // Only the last block of the large file has this length.
  const last = readdirSync(store, { recursive: true, encoding: 'utf8' })
    .map((name) => join(store, name))
    .filter((path) => statSync(path).isFile() && statSync(path).size > 9_000 && statSync(path).size < 20_000)
  t.equal(last.length, 1)
  rmSync(last[0] ?? '')
  const done = await lab.flistfs(['unpack', archive, '--tar', '-', '--timeout', '5s', '--json'])
  t.not(done.code, 0)
  t.match(done.stderr, /large/)
  const listed = await lab.run('sh', ['-c', `${PROGRAM} unpack '${archive}' --tar - --timeout 5s | tar -t`])
  t.not(listed.code, 0, 'tar sees that it is torn')
  const tar = lab.path('torn.tar')
  t.not((await lab.flistfs(['unpack', archive, '--tar', tar, '--timeout', '5s'])).code, 0)
  t.notOk(existsSync(tar), 'a file gets its name only when it is whole')
  t.strictSame(
    readdirSync(lab.dir).filter((name) => name.endsWith('.tmp')),
    [],
  )
})

mountTest('no store, no tar; and wrong words', {}, async (t, lab) => {
  const tar = lab.path('none.tar')
  const dead = await lab.flistfs(['unpack', ARCHIVE, '--tar', tar, '--store', `dir://${lab.path('nowhere')}`])
  t.equal(dead.code, 11, dead.stderr)
  t.notOk(existsSync(tar))
  t.equal((await lab.flistfs(['unpack', ARCHIVE])).code, 2)
  t.equal((await lab.flistfs(['unpack', ARCHIVE, lab.path('x'), '--tar', tar])).code, 2)
  const own = lab.path('own.fl')
  copyFileSync(ARCHIVE, own)
  const lost = await lab.flistfs(['unpack', own, '--tar', own, '--store', `dir://${lab.folder('store')}`])
  t.equal(lost.code, 2, lost.stderr)
  t.ok(readFileSync(own).equals(readFileSync(ARCHIVE)), 'an archive is not unpacked over itself')
  const where = await lab.flistfs(['unpack', ARCHIVE, '--tar', lab.path('a/b/c.tar')])
  t.match(where.stderr, /Cannot write .*ENOENT/)
})
