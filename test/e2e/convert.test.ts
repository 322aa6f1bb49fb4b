import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { startOdd } from '../oci/odd-registry.ts'
import { type ImageSpec, tarOf, writeLayout } from '../oci/make-image.ts'
import { mountTest, until } from './mounted.ts'

const SPEC: ImageSpec = {
  layers: [
    {
      tar: tarOf([
        { name: 'bin/', type: 'directory' },
        { name: 'bin/tool', data: 'old tool', mode: 0o755 },
        { name: 'gone', data: 'x' },
      ]),
    },
    { tar: tarOf([{ name: 'bin/tool', data: 'the tool', mode: 0o755 }, { name: '.wh.gone' }]) },
  ],
  config: { Cmd: ['/bin/tool'] },
}

mountTest('flistfs convert, mount and export', {}, async (t, lab) => {
  const layout = lab.path('layout')
  writeLayout(layout, { app: SPEC })
  const store = `dir://${lab.path('blocks')}`
  const archive = lab.path('app.fl')
  const words = ['convert', `oci:${layout}:app`, archive, '--store', store]
  const done = await lab.flistfs([...words, '--json'])
  t.equal(done.code, 0, done.stderr)
  t.match(JSON.parse(done.stdout.toString()), {
    archive,
    format: 'fl',
    layers: 2,
    platform: 'linux/amd64',
    imageDigest: /^sha256:/,
  })
  const text = await lab.flistfs(words)
  t.match(text.stdout.toString(), /app\.fl: 4 entries, .*\nfrom oci:.*layout:app for linux\/amd64, 2 layers, sha256:/)
  t.equal(text.stderr, '', 'quiet in a pipe')
  const mounted = await lab.mount(archive)
  t.equal((await lab.ok('cat', [join(mounted.directory, 'bin/tool')])).toString(), 'the tool')
  t.match(await lab.ok('cat', [join(mounted.directory, '.startup.toml')]), /name = "\/bin\/tool"/)
  t.notOk((await lab.ok('ls', ['-A', mounted.directory])).includes('gone'))
  await lab.umount(mounted)
  const image = `oci-archive:${lab.path('app.tar')}`
  const exported = await lab.flistfs(['export', archive, image, '--json'])
  t.equal(exported.code, 0, exported.stderr)
  t.match(JSON.parse(exported.stdout.toString()), { image, entries: 3, leftOut: { length: 0 } })
  await lab.ok('tar', ['-tf', lab.path('app.tar')])
  const out = lab.path('out')
  for (const again of [image, `oci:${out}:app`, `oci:${out}:app`]) {
    // What a writer that was killed leaves behind.
    const torn = again === image ? ['.app.tar.flistfs-0123456789ab.tmp'] : ['out/.index.json.flistfs-0123456789ab.tmp']
    for (const name of torn) if (existsSync(dirname(lab.path(name)))) writeFileSync(lab.path(name), 'half')
    t.equal((await lab.flistfs(['export', archive, again])).code, 0)
    const left = readdirSync(lab.dir, { recursive: true }).filter((name) => String(name).includes('flistfs-01'))
    t.strictSame(left, [], `half an image is gone after ${again}`)
  }
  t.equal((await lab.flistfs(['convert', `oci:${out}:app`, archive, '--store', store])).code, 0, 'what came is whole')

  const v1 = await lab.flistfs([
    'convert',
    image,
    lab.path('app.flist'),
    '--format',
    'v1',
    '--store',
    store,
    '--no-startup',
  ])
  t.equal(v1.code, 0, v1.stderr)
  t.match((await lab.flistfs(['ls', lab.path('app.flist'), 'bin'])).stdout.toString(), /tool/)

  const wrong: [readonly string[], number, RegExp][] = [
    [['convert', 'lower/UPPER', archive, '--store', store], 2, /Cannot use "lower\/UPPER" as an image/],
    [['convert', `oci:${layout}:app`, archive], 2, /without a store/],
    [['convert', `oci:${layout}:absent`, archive, '--store', store], 10, /it has no "absent"/],
    [
      ['convert', `oci:${layout}:app`, archive, '--store', store, '--platform', 'linux/s390x'],
      10,
      /not there for linux\/s390x/,
    ],
    [['convert', '127.0.0.1:1/a', archive, '--store', store], 11, /ECONNREFUSED/],
    [['export', archive, 'docker-daemon:x'], 2, /docker-daemon:x/],
  ]
  for (const [words, code, message] of wrong) {
    const failed = await lab.flistfs(words)
    t.equal(failed.code, code, words.join(' '))
    t.match(failed.stderr, message)
  }
})

mountTest('Ctrl-C leaves no archive, and layers for the next try', {}, async (t, lab) => {
  const large = { tar: tarOf([{ name: 'large', data: Buffer.alloc(2_000_000, 'x') }]), packing: 'none' as const }
  const registry = await startOdd(t, { ...SPEC, layers: [...SPEC.layers, large] })
  registry.bend = ({ url = '' }, response) => {
    const blob = registry.blobs.get(url.split('/').at(-1) ?? '')
    if (blob === undefined || blob.bytes.length < 2_000_000) return false
    response.writeHead(200, { 'content-length': blob.bytes.length }).write(blob.bytes.subarray(0, 1_500_000))
    return true
  }
  const archive = lab.path('app.fl')
  const words = [
    'convert',
    `${registry.host}/app:v1`,
    archive,
    '--store',
    `dir://${lab.path('blocks')}`,
    '--cache',
    lab.cache,
  ]
  const child = lab.startFlistfs(words)
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const layers = join(lab.cache, 'layers')
  const bytes = (): number =>
    (existsSync(layers) ? readdirSync(layers).map((name) => readFileSync(join(layers, name)).length) : []).reduce(
      (sum, size) => sum + size,
      0,
    )
  await until(() => bytes() > 1_000_000)
  child.kill('SIGINT')
  t.equal(await ended, 130)
  t.notOk(existsSync(archive))
  t.strictSame(
    readdirSync(lab.dir).filter((name) => name.startsWith('app.fl')),
    [],
    'no part of it either',
  )
  t.ok(bytes() > 1_000_000, 'the layers stay')
  registry.bend = () => false
  registry.seen.length = 0
  const again = await lab.flistfs(words)
  t.equal(again.code, 0, again.stderr)
  t.equal(registry.seen.filter(({ range }) => range !== undefined).length, 1, 'only the rest is fetched')
  t.strictSame(readdirSync(layers), [], 'and then they go')
})

mountTest('a hostile image is refused before a block is stored', {}, async (t, lab) => {
  const layout = lab.path('layout')
  const bomb = gzipSync(Buffer.alloc(16 * 1024 * 1024))
  writeLayout(layout, {
    escape: {
      layers: [
        {
          tar: tarOf([
            { name: 'fine', data: 'fine' },
            { name: '../../outside', data: 'x' },
          ]),
        },
      ],
    },
    loop: {
      layers: [
        {
          tar: tarOf([
            { name: 'a', type: 'symlink', target: 'b' },
            { name: 'b', type: 'symlink', target: 'a' },
            { name: 'a/x' },
          ]),
        },
      ],
    },
    bomb: {
      layers: [{ tar: tarOf([{ name: 'x' }]), packing: () => Buffer.concat(Array.from({ length: 70 }, () => bomb)) }],
    },
  })
  for (const [tag, code] of [
    ['escape', 'FLIST_IMAGE_DAMAGED'],
    ['loop', 'FLIST_IMAGE_DAMAGED'],
    ['bomb', 'FLIST_LIMIT'],
  ] as const) {
    const blocks = lab.path(`blocks-${tag}`)
    mkdirSync(blocks)
    const failed = await lab.flistfs([
      'convert',
      `oci:${layout}:${tag}`,
      lab.path(`${tag}.fl`),
      '--store',
      `dir://${blocks}`,
      '--json',
    ])
    t.equal(failed.code, 12, failed.stderr)
    t.match(failed.stderr, code)
    t.notOk(existsSync(lab.path(`${tag}.fl`)))
    t.strictSame(readdirSync(blocks), [], 'no block')
    rmSync(blocks, { recursive: true })
  }
  t.notOk(existsSync(lab.path('../outside')))
})
