import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { BlockServer } from './block-server.ts'
import { FLISTFS, type Lab, mountTest, PROJECT, until } from './mounted.ts'
import { packFiles } from './pack-tree.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const STORE = ['--store', `dir://${join(PROJECT, 'fixtures/sample/store')}`]
const digestOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** A hub as far as mounting needs one: files by name with ETag, and their sums. */
class Hub {
  readonly files = new Map<string, Buffer>()
  /** Method, path and status of each request. */
  readonly log: string[] = []
  readonly #server: Server = createServer((request, response) => this.#answer(request, response))

  static async open(t: Test): Promise<Hub> {
    const hub = new Hub()
    await new Promise<void>((done) => hub.#server.listen(0, '127.0.0.1', done))
    t.teardown(() => hub.close())
    return hub
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? ''
    const file = this.files.get(path)
    const tag = file && `"${createHash('md5').update(file).digest('hex')}"`
    const status = file === undefined ? 404 : request.headers['if-none-match'] === tag ? 304 : 200
    this.log.push(`${path} ${status}`)
    if (status === 200 && tag !== undefined) response.writeHead(200, { etag: tag }).end(file)
    else response.writeHead(status).end()
  }
}

async function works(lab: Lab, directory: string): Promise<string> {
  return lab.ok('cat', [join(directory, 'etc/debian_version')])
}

mountTest('one archive on two folders, and twice on the same folder', {}, async (t, lab) => {
  const first = await lab.mount(SAMPLE)
  const second = await lab.mount(SAMPLE)
  t.match(await works(lab, first.directory), /^12/)
  t.match(await works(lab, second.directory), /^12/)
  const over = await lab.mount(SAMPLE, { directory: first.directory })
  t.match(await works(lab, first.directory), /^12/, 'the upper one is seen')
  await lab.umount(over)
  t.match(await works(lab, first.directory), /^12/, 'then the lower one')
  await lab.umount(first)
  t.strictSame((await lab.ok('ls', [first.directory])).trim(), '')
})

mountTest(
  'names with blanks, newlines, commas, colons, backslashes and quotes, relative and by link',
  {},
  async (t, lab) => {
    for (const name of [
      'a b',
      'new\nline',
      'comma,comma',
      'col:on',
      'back\\slash',
      `quo"te'`,
      'hash#percent%20',
      'ünï',
      '-dash',
    ]) {
      const label = JSON.stringify(name)
      const place = lab.folder(`place/${name}`)
      mkdirSync(join(place, 'mnt'))
      copyFileSync(SAMPLE, join(place, 'a.fl'))
      const mounted = await lab.mount('a.fl', { directory: 'mnt', cwd: place, words: STORE })
      t.equal(mounted.directory, join(place, 'mnt'), `${label}: relative`)
      t.match(await works(lab, mounted.directory), /^12/)
      await lab.umount(mounted)

      const writable = await lab.mount(join(place, 'a.fl'), {
        directory: join(place, 'mnt'),
        words: ['--upper', join(place, 'changes'), ...STORE],
      })
      await lab.ok('touch', [join(writable.directory, 'etc/new')])
      await lab.umount(writable)
      t.equal((await lab.ok('ls', [join(place, 'changes/upper/etc')])).trim(), 'new', `${label}: writable`)
    }
    symlinkSync(lab.folder('real'), lab.path('link'))
    const linked = await lab.mount(SAMPLE, { directory: lab.path('link') })
    t.equal(linked.directory, lab.path('real'), 'a link to the folder')
    t.equal((await lab.flistfs(['umount', lab.path('link')])).code, 0)
  },
)

mountTest('where it cannot be mounted, one line says why', {}, async (t, lab) => {
  const file = lab.path('file')
  writeFileSync(file, 'text')
  const missing = await lab.tryMount(SAMPLE, { directory: lab.path('missing') })
  t.match([missing.code, missing.stderr], [1, /FLIST_MOUNT_FAILED.*no such folder.*mkdir/])
  const onFile = await lab.tryMount(SAMPLE, { directory: file })
  t.match([onFile.code, onFile.stderr], [1, /FLIST_MOUNT_FAILED.*not a folder/])
  const noArchive = await lab.tryMount(lab.path('none.fl'))
  t.match([noArchive.code, noArchive.stderr], [10, /FLIST_NOT_FOUND/])
  const notOne = await lab.tryMount(file)
  t.match([notOne.code, notOne.stderr], [12, /FLIST_FORMAT_UNKNOWN/])
  const cut = lab.path('cut.fl')
  writeFileSync(cut, readFileSync(SAMPLE).subarray(0, 30_000))
  const damaged = await lab.tryMount(cut)
  t.match([damaged.code, damaged.stderr], [12, /FLIST_ARCHIVE_DAMAGED/])
  const wrongDigest = await lab.tryMount(SAMPLE, { words: ['--digest', `sha256:${'0'.repeat(64)}`] })
  t.match([wrongDigest.code, wrongDigest.stderr], [12, /FLIST_DIGEST_MISMATCH/])
  const badStore = await lab.tryMount(SAMPLE, { words: ['--store', 'ftp://example.org'] })
  t.match([badStore.code, badStore.stderr], [2, /FLIST_USAGE/])
  // A holder that was killed may take a moment.
  await until(() => lab.servers().length === 0)

  const right = await lab.mount(SAMPLE, { words: ['--digest', `sha256:${digestOf(SAMPLE)}`] })
  t.equal(right.digest, digestOf(SAMPLE))
  const full = lab.folder('full')
  writeFileSync(join(full, 'hidden'), '')
  const over = await lab.mount(SAMPLE, { directory: full })
  t.match(await works(lab, full), /^12/, 'a folder that is not empty')
  await lab.umount(over)
  t.equal((await lab.ok('ls', [full])).trim(), 'hidden')
})

mountTest(
  'an archive by URL is fetched once, asked for again by condition, and mounts without the network',
  {},
  async (t, lab) => {
    const hub = await Hub.open(t)
    hub.files.set('/some/where.fl', readFileSync(SAMPLE))
    const url = `${hub.url}/some/where.fl`
    const first = await lab.mount(url, { words: STORE })
    t.match(await works(lab, first.directory), /^12/)
    await lab.umount(first)
    await lab.umount(await lab.mount(url, { words: STORE }))
    t.strictSame(
      hub.log.filter((line) => line.startsWith('/some/where.fl ')),
      ['/some/where.fl 200', '/some/where.fl 304'],
    )
    const asked = hub.log.length
    await lab.umount(await lab.mount(url, { words: [...STORE, '--digest', `sha256:${digestOf(SAMPLE)}`] }))
    t.equal(hub.log.length, asked, 'pinned: nobody is asked')
    hub.close()
    const offline = await lab.mount(url, { words: STORE })
    t.match(await works(lab, offline.directory), /^12/)
    t.match(offline.stderr, /warning.*using the copy/)
  },
)

mountTest('a name on a hub is checked against the .md5 there', {}, async (t, lab) => {
  const hub = await Hub.open(t)
  const archive = readFileSync(SAMPLE)
  const md5 = createHash('md5').update(archive).digest('hex')
  hub.files.set('/me/debian.fl', archive)
  hub.files.set('/me/debian.fl.md5', Buffer.from(`${'0'.repeat(32)}\n`))
  const env = { FLISTFS_HUB: hub.url }
  const wrong = await lab.tryMount('me/debian.fl', { words: STORE, env })
  t.match([wrong.code, wrong.stderr], [12, /FLIST_DIGEST_MISMATCH.*MD5/])
  hub.files.set('/me/debian.fl.md5', Buffer.from(`${md5}\n`))
  const right = await lab.mount('me/debian.fl', { words: STORE, env })
  t.match(await works(lab, right.directory), /^12/)
  const option = await lab.mount('me/debian.fl', { words: [...STORE, '--hub', hub.url] })
  t.match(await works(lab, option.directory), /^12/)
  const absent = await lab.tryMount('me/other.fl', { words: STORE, env })
  t.match([absent.code, absent.stderr], [10, /FLIST_NOT_FOUND.*404/])
})

mountTest('secrets reach the store, and no log, error, list or mount table', {}, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { file: Buffer.from('content') })
  const server = await BlockServer.open(t, store)
  const withSecret = server.url.replace('http://', 'http://reader:PASS-word-1@')
  const mounted = await lab.mount(archive, { env: { FLISTFS_STORE: withSecret } })
  t.equal(await lab.ok('cat', [`${mounted.directory}/file`]), 'content')
  t.equal(server.authorization, `Basic ${Buffer.from('reader:PASS-word-1').toString('base64')}`)

  const other = await packFiles(lab.dir, 'b', { file: Buffer.from('other') })
  server.behaviour = 'dead'
  const warned = await lab.mount(other.archive, { words: ['--store', withSecret, '--timeout', '1s'] })
  t.match(warned.stderr, /process list.*FLISTFS_STORE/, 'a warning where others can read it')
  t.equal((await lab.run('cat', [`${warned.directory}/file`])).code, 1)

  const tokenFile = lab.path('token')
  writeFileSync(tokenFile, 'TOKEN-value-2\n')
  chmodSync(tokenFile, 0o600)
  const third = await packFiles(lab.dir, 'c', { file: Buffer.from('third') })
  const tokens = await BlockServer.open(t, third.store)
  const byToken = await lab.mount(third.archive, { words: ['--store', `${tokens.url}/?token-file=${tokenFile}`] })
  t.equal(await lab.ok('cat', [`${byToken.directory}/file`]), 'third')
  t.equal(tokens.authorization, 'Bearer TOKEN-value-2')
  t.equal(byToken.stderr, '', 'a file needs no warning')
  const refused = await lab.tryMount(`${withSecret}/none.fl`)
  const texts = [
    lab.logs(),
    warned.stderr,
    mounted.stderr,
    refused.stderr,
    (await lab.flistfs(['list', '--json'])).stdout.toString(),
    JSON.stringify(await lab.stats(mounted)),
    JSON.stringify(await lab.stats(warned)),
    JSON.stringify(await lab.stats(byToken)),
    readFileSync('/proc/self/mountinfo', 'utf8'),
    await lab.ok('sh', ['-c', `cat ${lab.runtime}/*.json; grep -rl PASS-word-1 ${lab.cache} || true`]),
  ]
  texts.forEach((text, nth) => t.notMatch(text, /PASS-word-1|TOKEN-value-2/, `text ${nth}`))
})

mountTest(
  'the mount table says what is mounted, and setuid and devices are off unless asked for',
  {},
  async (t, lab) => {
    const optionsOf = async (directory: string): Promise<string> =>
      (await lab.ok('findmnt', ['--noheadings', '--output', 'FSTYPE,OPTIONS', '--mountpoint', directory])).trim()
    const plain = await lab.mount(SAMPLE)
    t.match(await optionsOf(plain.directory), /^fuse\.flistfs +ro,nosuid,nodev/)
    const free = await lab.mount(SAMPLE, { words: ['--suid', '--dev'] })
    t.notMatch(await optionsOf(free.directory), /nosuid|nodev/)
    const writable = await lab.mount(SAMPLE, { words: ['--rw'] })
    t.match(await optionsOf(writable.directory), /^overlay +rw,nosuid,nodev/)
    t.match((await lab.run('touch', [join(plain.directory, 'new')])).stderr, 'Read-only file system')
  },
)

mountTest('a runtime folder with a path that no address of a socket holds', {}, async (t, lab) => {
  const runtime = lab.folder(`run/${'long-'.repeat(25)}`)
  const env = { FLISTFS_RUNTIME: runtime }
  const [first, second] = [await lab.mount(SAMPLE, { env }), await lab.mount(SAMPLE, { env })]
  t.equal(second.pid, first.pid, 'they share a server')
  const { stdout } = await lab.flistfs(['stats', '--json', first.directory], { env })
  t.match(JSON.parse(stdout.toString('utf8')), { directory: first.directory })
  const listed = await lab.flistfs(['list', '--json'], { env })
  t.match(JSON.parse(listed.stdout.toString('utf8')), [{ state: 'mounted' }, { state: 'mounted' }])
  for (const { directory } of [second, first]) t.equal((await lab.flistfs(['umount', directory], { env })).code, 0)
  await until(() => readdirSync(runtime).length === 0)
  rmSync(runtime, { recursive: true })
})

mountTest('a folder whose mount nobody answers for is no reason to wait for ever', {}, async (t, lab) => {
  const directory = lab.folder('hangs')
  // The device stays open and nobody reads it.
  const script = `exec 5<>/dev/fuse
    mount -i -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0 nobody "$1"
    exec sleep 600`
  const holder = lab.start('sh', ['-c', script, 'sh', directory])
  await until(() => readFileSync('/proc/self/mounts', 'utf8').includes(`nobody ${directory} fuse`))
  for (const folder of [directory, join(directory, 'below')]) {
    const refused = await lab.flistfs(['mount', SAMPLE, folder], { timeoutMs: 60_000 })
    t.equal(refused.code, 1)
    t.match(
      refused.stderr,
      `"${folder}": nobody answers for the mount that is there\n  hint: Unmount it first: umount -l ${directory}\n`,
    )
  }
  await lab.ok('umount', ['-l', directory])
  holder.kill()
})

mountTest('a mount stands where the line about it finds no room', {}, async (t, lab) => {
  const at = lab.folder('at')
  const words = ['mount', '--json', SAMPLE, at]
  const { code, stderr } = await lab.run('sh', ['-c', 'exec "$0" "$@" >/dev/full', FLISTFS, ...words])
  t.equal(code, 0)
  t.match(JSON.parse(stderr), { warning: { message: /^Cannot write the result to standard output: the disk is full/ } })
  t.match(await lab.run('cat', [join(at, 'etc/debian_version')]), { code: 0 })
  t.match(await lab.flistfs(['umount', at]), { code: 0 })
})
