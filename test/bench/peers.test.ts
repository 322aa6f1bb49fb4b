import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { findPeers, type Peer, type PeerTrees } from '../../bench/peers.ts'
import { table } from '../../bench/report.ts'
import { paired } from '../../bench/row.ts'

const SYSTEM_PATH = process.env['PATH'] ?? ''
/** A program that notes its words; what it then does is the test's. */
const NOTE = '#!/bin/sh\necho "$0 $*" >> "$WORDS"\n'
const asRoot = process.getuid?.() === 0 ? {} : { skip: 'only root may mount what stands for a peer' }

interface Stage {
  readonly trees: PeerTrees
  readonly absent: Record<string, string>
  readonly peers: () => Peer[]
  /** Puts a program on PATH. */
  readonly install: (name: string, script: string) => void
  /** The words of each start of a program, in order. */
  readonly words: () => string[]
}

function stage(t: Test): Stage {
  const work = t.testdir({ bin: {}, native: { small: {}, big: {} } })
  const bin = join(work, 'bin')
  process.env['PATH'] = `${bin}${delimiter}${SYSTEM_PATH}`
  process.env['WORDS'] = join(work, 'words')
  t.teardown(() => {
    process.env['PATH'] = SYSTEM_PATH
    delete process.env['WORDS']
  })
  const absent: Record<string, string> = {}
  const trees = { work, native: join(work, 'native'), smallArchive: join(work, 's.fl'), bigArchive: join(work, 'b.fl') }
  return {
    trees,
    absent,
    peers: () => findPeers(trees, (name, why) => (absent[name] = why)),
    install: (name, script) => {
      writeFileSync(join(bin, name), NOTE + script)
      chmodSync(join(bin, name), 0o755)
    },
    words: () => readFileSync(join(work, 'words'), 'utf8').replaceAll(`${bin}/`, '').trim().split('\n'),
  }
}

t.test('findPeers() names who is not here, and whose name another program has', (t) => {
  const { peers, absent } = stage(t)
  process.env['PATH'] = join(t.testdirName, 'bin')
  t.same(peers(), [])
  t.same(absent, { rfs: 'not on PATH', nydusd: 'not on PATH' })
  // Our own program answers to the name, for Zero-OS.
  process.env['PATH'] = `${resolve(import.meta.dirname, '../../bin')}${delimiter}${SYSTEM_PATH}`
  t.same(
    peers().filter(({ name }) => name === 'rfs'),
    [],
  )
  t.equal(absent['rfs'], 'the program of this name is another one')
  t.end()
})

t.test('nydusd without nydus-image is named as absent', (t) => {
  const { peers, absent, install } = stage(t)
  install('nydusd', 'exit 0')
  t.same(
    peers().filter(({ name }) => name === 'nydusd'),
    [],
  )
  t.match(absent['nydusd'], /nydus-image/)
  t.end()
})

t.test('rfs is started with an archive and a cache, and unmounted', asRoot, (t) => {
  const { peers, trees, install, words } = stage(t)
  install('rfs', 'for last; do :; done\n[ "$1" = pack ] || exec mount -t tmpfs -o size=64k $$ "$last"\n')
  const rfs = peers().find(({ name }) => name === 'rfs')
  const [cache, directory] = [join(trees.work, 'cache'), join(trees.work, 'mnt')]
  mkdirSync(directory)
  const mount = rfs?.mount('big', cache, directory)
  t.teardown(() => mount?.close())
  t.equal(mount?.root, directory)
  t.match(readFileSync('/proc/self/mountinfo', 'utf8'), ` ${directory} `)
  t.same(words(), [
    'rfs pack --help',
    `rfs mount --meta ${trees.bigArchive} --cache ${cache} --daemon --log ${join(trees.work, 'rfs.log')} ${directory}`,
  ])
  mount?.close()
  mount?.close()
  t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), ` ${directory} `)
  t.end()
})

t.test('nydusd is started on an image that is made once, and ended', asRoot, (t) => {
  const { peers, trees, install, words } = stage(t)
  install('nydus-image', '')
  // Stays until it is unmounted, like the real one.
  install('nydusd', 'mount -t tmpfs nydusd "$6" || exit 1\nwhile mountpoint -q "$6"; do sleep 0.1; done\n')
  const nydusd = peers().find(({ name }) => name === 'nydusd')
  const [cache, directory] = [join(trees.work, 'cache'), join(trees.work, 'mnt')]
  mkdirSync(directory)
  for (const tree of ['small', 'big'] as const) {
    const mount = nydusd?.mount(tree, cache, directory)
    t.teardown(() => mount?.close())
    t.equal(mount?.root, join(directory, tree))
    mount?.close()
    t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), ` ${directory} `)
  }
  const [bootstrap, blobs] = [join(trees.work, 'nydus/bootstrap'), join(trees.work, 'nydus/blobs')]
  const started = `nydusd --config ${join(trees.work, 'nydusd.json')} --bootstrap ${bootstrap} --mountpoint ${directory} --log-level error --rlimit-nofile 0`
  t.same(words(), [`nydus-image create --bootstrap ${bootstrap} --blob-dir ${blobs} ${trees.native}`, started, started])
  t.match(JSON.parse(readFileSync(join(trees.work, 'nydusd.json'), 'utf8')), {
    device: {
      backend: { type: 'localfs', config: { dir: blobs } },
      cache: { type: 'blobcache', config: { work_dir: cache } },
    },
  })
  t.end()
})

t.test('a peer that cannot mount says why, and its image is made again', (t) => {
  const { peers, trees, install } = stage(t)
  install('nydus-image', 'echo no room >&2; exit 1')
  install('nydusd', 'echo cannot open the device; exit 7')
  const nydusd = peers().find(({ name }) => name === 'nydusd')
  const directory = join(trees.work, 'mnt')
  const mount = (): unknown => nydusd?.mount('small', join(trees.work, 'cache'), directory)
  t.throws(mount, /no room/)
  t.notOk(existsSync(join(trees.work, 'nydus/done')))
  install('nydus-image', '')
  t.throws(mount, /nydusd did not mount: cannot open the device/)
  t.end()
})

t.test('a peer that fails is reported as failed, not as a number; a failure of ours comes out', (t) => {
  const failed: Record<string, string> = {}
  let asked = 0
  const medians = paired(
    3,
    {
      flistfs: () => 1,
      rfs: () => {
        asked += 1
        if (asked === 2) throw new Error('read: Input/output error')
        return 0.001
      },
    },
    failed,
  )
  t.same(medians, { flistfs: 1 })
  t.equal(asked, 2, 'who failed is not asked again')
  t.match(failed['rfs'], /Input\/output error/)
  const text = table([{ row: 'walk', unit: 's', medians, figure: 1, figureUnit: 's', target: undefined, failed }])
  t.match(text, '| walk | flistfs 1.000 s, rfs failed | 1.000 s |')
  t.match(text, /\* walk: rfs failed: .*Input\/output error/)
  t.throws(
    () =>
      paired(1, {
        flistfs: () => {
          throw new Error('ours')
        },
      }),
    /ours/,
  )
  t.end()
})
