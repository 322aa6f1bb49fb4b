import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Done, FLISTFS, type Lab, lacks, mountTest } from './mounted.ts'

interface SignatureLine {
  readonly fingerprint: string
  readonly name?: string
  readonly valid: boolean
}

/** A small tree, packed; keys `k` and `other`. */
async function prepare(lab: Lab, format = 'fl'): Promise<string> {
  const tree = lab.folder('tree')
  mkdirSync(join(tree, 'folder'), { recursive: true })
  writeFileSync(join(tree, 'folder/file'), 'content')
  rmSync(join(tree, 'link'), { force: true })
  symlinkSync('folder/file', join(tree, 'link'))
  for (const name of ['k', 'other']) {
    rmSync(lab.path(name), { force: true })
    rmSync(lab.path(`${name}.pub`), { force: true })
    await ok(lab, 'keygen', lab.path(name), '-C', `${name} of a test`)
  }
  const archive = lab.path(`a.${format}`)
  await ok(lab, 'pack', tree, archive, '--format', format, '--numeric-owner', '--store', `dir://${lab.path('store')}`)
  return archive
}

async function ok(lab: Lab, ...words: readonly string[]): Promise<string> {
  const done = await lab.flistfs(words)
  if (done.code !== 0) throw new Error(`flistfs ${words.join(' ')} ended with ${done.code}: ${done.stderr}`)
  return done.stdout.toString()
}

/** Exit code of verify, and what it says of signatures. */
async function verify(lab: Lab, archive: string, ...words: readonly string[]) {
  const done = await lab.flistfs(['verify', archive, '--signature', ...words, '--json'])
  if (done.code !== 0 && done.code !== 12) return { code: done.code, said: done.stderr }
  const { signed } = JSON.parse(done.stdout.toString()) as { signed: { signatures: SignatureLine[]; good: boolean } }
  const said = signed.signatures.map(({ name = '?', valid }) => `${name}: ${valid}`).toSorted()
  return { code: done.code, said }
}

/** Changes an fl archive behind the back of whoever signed it. */
function tamper(archive: string, sql: string): void {
  const database = new DatabaseSync(archive)
  database.exec(sql)
  database.close()
}

for (const format of ['fl', 'v1']) {
  mountTest(`sign and verify, ${format}`, {}, async (t, lab) => {
    const archive = await prepare(lab, format)
    const [key, other] = [lab.path('k'), lab.path('other')]
    const signed = lab.path(`signed.${format}`)
    t.strictSame(await verify(lab, archive), { code: 0, said: [] }, 'not signed, and nobody asks for it')
    t.strictSame(await verify(lab, archive, '--key', `${key}.pub`), { code: 12, said: [] })
    await ok(lab, 'sign', archive, '--key', key, '-o', signed)
    t.strictSame(await verify(lab, signed, '--key', `${key}.pub`), { code: 0, said: ['k of a test: true'] })
    t.strictSame(await verify(lab, signed, '--key', `${other}.pub`), { code: 12, said: ['?: true'] })
    t.equal((await lab.flistfs(['diff', archive, signed])).code, 0, 'the tree is as it was')
    await ok(lab, 'sign', signed, '--key', other)
    const both = await verify(lab, signed, '--key', `${key}.pub`, '--key', `${other}.pub`)
    t.strictSame(both, { code: 0, said: ['k of a test: true', 'other of a test: true'] }, 'one more keeps the first')
    const bytes = readFileSync(signed)
    await ok(lab, 'sign', signed, '--key', key)
    t.ok(readFileSync(signed).equals(bytes), 'signed again it is the same')
    const words = ['--format', format, '--numeric-owner', '--store', `dir://${lab.path('store')}`]
    await ok(lab, 'pack', lab.path('tree'), lab.path('packed'), ...words, '--sign', other, '--sign', key)
    t.ok(readFileSync(lab.path('packed')).equals(bytes), 'as if it had been signed while it was packed')
    await ok(lab, 'route', signed, '--add', 'https://mirror.example.org')
    t.match(await verify(lab, signed, '--key', `${key}.pub`), { code: 0 }, 'blocks may move')
    await ok(lab, 'edit', signed, 'chmod', '600', 'folder/file')
    t.strictSame(await verify(lab, signed), { code: 0, said: [] }, 'what was edited is not signed any more')
    const shown = JSON.parse(await ok(lab, 'inspect', lab.path('packed'), '--json')) as { signatures: SignatureLine[] }
    t.strictSame(
      shown.signatures.map(({ valid }) => valid),
      [true, true],
    )
  })
}

mountTest('a signature beside an archive', {}, async (t, lab) => {
  const archive = await prepare(lab, 'v1')
  const bytes = readFileSync(archive)
  const key = lab.path('k')
  await ok(lab, 'sign', archive, '--key', key, '--detached')
  await ok(lab, 'sign', archive, '--key', lab.path('other'), '--detached')
  t.ok(readFileSync(archive).equals(bytes), 'the archive is as it was')
  const both = { code: 0, said: ['?: true', 'k of a test: true'] }
  t.strictSame(await verify(lab, archive, '--key', `${key}.pub`), both)
  const server = createServer(({ url = '' }, response) => {
    const file = { '/a.flist': archive, '/a.flist.sig': `${archive}.sig` }[url]
    // What has no file is a page, as some servers have it.
    response.end(file === undefined ? '<html>' : readFileSync(file))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  t.strictSame(await verify(lab, `${url}/a.flist`, '--key', `${key}.pub`), both, 'beside a URL too')
  writeFileSync(`${archive}.sig`, 'no list')
  const said = /Cannot read the signatures of .*no JSON/
  t.match(await lab.flistfs(['verify', archive, '--signature']), { code: 12, stderr: said })
  t.strictSame(await verify(lab, `${url}/a.flist`), { code: 0, said: [] }, 'a page is no signature')
})

/** Where a signature begins in its tag. */
const SIG = `instr(value, '"sig":"') + 7`

mountTest('verify finds what was changed after it was signed', {}, async (t, lab) => {
  const archive = await prepare(lab)
  const signed = lab.path('signed.fl')
  await ok(lab, 'sign', archive, '--key', lab.path('k'), '-o', signed)
  const changes: Readonly<Record<string, string>> = {
    'a mode': "UPDATE inode SET mode = mode | 2048 WHERE name = 'file'",
    'the key of a block': 'UPDATE block SET key = zeroblob(32)',
    'a tag': "INSERT INTO tag VALUES ('x-oci-config', '{}')",
    'a letter of a signature': `UPDATE tag SET value = substr(value, 1, ${SIG} - 1) || (CASE substr(value, ${SIG}, 1) WHEN 'A' THEN 'B' ELSE 'A' END) || substr(value, ${SIG} + 1) WHERE key = 'x-signature'`,
  }
  for (const [what, sql] of Object.entries(changes)) {
    const changed = lab.path('changed.fl')
    copyFileSync(signed, changed)
    tamper(changed, sql)
    t.match(await verify(lab, changed, '--key', lab.path('k.pub')), { code: 12 }, what)
  }
  copyFileSync(signed, lab.path('moved.fl'))
  tamper(lab.path('moved.fl'), "UPDATE route SET url = 'https://mirror.example.org'")
  t.match(await verify(lab, lab.path('moved.fl'), '--key', lab.path('k.pub')), { code: 0 }, 'but not a route')
})

mountTest(
  'keygen makes keys that nobody else reads, and replaces none',
  { skip: lacks('ssh-keygen') },
  async (t, lab) => {
    const file = lab.path('k')
    await ok(lab, 'keygen', file, '-C', 'somebody')
    const [secret, line] = [readFileSync(file), readFileSync(`${file}.pub`, 'utf8')]
    t.equal(statSync(file).mode & 0o777, 0o600)
    t.match(line, /^ssh-ed25519 AAAA\S+ somebody\n$/)
    t.match(await lab.ok('ssh-keygen', ['-l', '-f', `${file}.pub`]), /somebody \(ED25519\)/)
    t.match(await lab.flistfs(['keygen', file]), { code: 2, stderr: /k\.pub".*there already/ })
    t.match(await lab.flistfs(['keygen', lab.path('l'), '-C', 'two\nlines']), { code: 2, stderr: /comment/ })
    rmSync(`${file}.pub`)
    t.match(await lab.flistfs(['keygen', file]), { code: 2, stderr: /k".*there already/ })
    t.throws(() => statSync(`${file}.pub`), { code: 'ENOENT' }, 'nothing is left of it')
    t.ok(readFileSync(file).equals(secret))
  },
)

/** Tries to mount, says how it ended, and unmounts. */
async function tried(
  lab: Lab,
  archive: string,
  policy: string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const words = policy === '' ? [] : ['--policy', policy]
  const done = await lab.tryMount(archive, { words, env })
  if (done.code === 0) await lab.umount(done)
  return done.code === 0 ? 'mounted' : why(done)
}

function why({ code, stderr }: Done): string {
  const line = stderr.split('\n').find((one) => one.startsWith('{"error"')) ?? '{}'
  const { error } = JSON.parse(line) as { error?: { code: string; message: string } }
  return `${code} ${error?.code}: ${error?.message}`
}

mountTest('mount obeys a policy', {}, async (t, lab) => {
  const archive = await prepare(lab)
  const signed = lab.path('signed.fl')
  await ok(lab, 'sign', archive, '--key', lab.path('k'), '-o', signed)
  const key = readFileSync(lab.path('k.pub'), 'utf8').trim()
  const policy = (text: string): string => {
    writeFileSync(lab.path('policy.toml'), text)
    return lab.path('policy.toml')
  }
  const byKey = `[allow]\nkeys = ["${key}"]\n`
  t.equal(await tried(lab, signed, policy(`[allow]\nkeys = ["${lab.path('k.pub')}"]`)), 'mounted', 'keys of a file')
  t.match(
    await tried(lab, archive, policy(byKey)),
    /^1 FLIST_NOT_TRUSTED: Cannot mount ".*a\.fl": it is not signed, says ".*policy\.toml"/,
  )
  t.match(await tried(lab, signed, policy(`${byKey}[revoke]\nkeys = ["${key}"]`)), /is revoked/)
  const { digest } = JSON.parse(await ok(lab, 'inspect', archive, '--json')) as { digest: string }
  t.equal(await tried(lab, archive, policy(`[allow]\ndigests = ["sha256:${digest}"]`)), 'mounted')
  const changed = lab.path('changed.fl')
  copyFileSync(signed, changed)
  tamper(changed, "UPDATE inode SET uid = 4711 WHERE name = 'file'")
  for (const text of [byKey, '[allow]\nunsigned = true'])
    t.match(await tried(lab, changed, policy(text)), /its signature is wrong/)
  copyFileSync(archive, lab.path('beside.fl'))
  await ok(lab, 'sign', lab.path('beside.fl'), '--key', lab.path('k'), '--detached')
  t.equal(await tried(lab, lab.path('beside.fl'), policy(byKey)), 'mounted', 'by a signature beside it')
  t.match(await tried(lab, archive, '', { FLISTFS_POLICY: policy(byKey) }), /FLIST_NOT_TRUSTED/, 'by the environment')
  t.match(await tried(lab, archive, '/srv/absent.toml'), /^2 FLIST_USAGE: .*absent\.toml/, 'one that is not there')
  t.match(await tried(lab, archive, policy('[allow]\nkyes = []')), /^2 FLIST_USAGE: .*"kyes" in \[allow\]/)
  t.match(await tried(lab, archive, policy('[allow]\nkeys = [')), /^2 FLIST_USAGE: .*policy\.toml": line 2/)
})

mountTest('a policy holds for new mounts: one that stands goes on under a new server', {}, async (t, lab) => {
  const archive = await prepare(lab)
  writeFileSync(lab.path('policy.toml'), '[allow]\nunsigned = true')
  const mounted = await lab.mount(archive, { words: ['--policy', lab.path('policy.toml')] })
  writeFileSync(lab.path('policy.toml'), '[allow]')
  await ok(lab, 'upgrade', mounted.directory)
  t.equal(await lab.ok('cat', [`${mounted.directory}/folder/file`]), 'content')
  await lab.umount(mounted)
})

/** In a tree of mounts of its own, with a folder of ours in the place of /etc/flistfs. */
const OWN_ETC = `
set -e
mount -t tmpfs none "$1/over" && mkdir "$1/over/upper" "$1/over/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/over/upper,workdir=$1/over/work" none /etc
mkdir -p /etc/flistfs && cp "$1/system.toml" /etc/flistfs/policy.toml
shift
flistfs=$1 && shift
sh "$flistfs" mount "$@"
ls "$2"
sh "$flistfs" umount "$2"
`

mountTest('the policy of the machine holds whatever the words say', { skip: lacks('unshare') }, async (t, lab) => {
  const archive = await prepare(lab)
  lab.folder('over')
  lab.folder('at')
  const under = (system: string, ...words: readonly string[]): Promise<Done> => {
    writeFileSync(lab.path('system.toml'), system)
    const script = ['--mount', '--propagation', 'private', 'sh', '-c', OWN_ETC, 'sh', lab.dir]
    return lab.run('unshare', [...script, FLISTFS, archive, lab.path('at'), ...words])
  }
  const open = lab.path('open.toml')
  writeFileSync(open, '[allow]\nunsigned = true')
  const closed = lab.path('closed.toml')
  writeFileSync(closed, '[allow]')
  t.match(await under('[allow]'), { code: 1, stderr: /says "\/etc\/flistfs\/policy\.toml"/ })
  t.match(await under('[allow]', '--policy', open), { code: 1, stderr: /says "\/etc\/flistfs\/policy\.toml"/ })
  t.match(await under('nonsense', '--policy', open), { code: 2, stderr: /the policy "\/etc\/flistfs\/policy\.toml"/ })
  t.match(await under('[allow]\nunsigned = true', '--policy', closed), { code: 1, stderr: /says ".*closed\.toml"/ })
  const done = await under('[allow]\nunsigned = true', '--policy', open)
  t.match(done, { code: 0, stdout: Buffer.from('folder\nlink\n') }, done.stderr)
})
