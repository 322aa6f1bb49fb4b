import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SILENT } from '../../lib/base/index.ts'
import { exportArchive, type ExportResult } from '../../lib/index.ts'
import { fileBytes } from '../../lib/commands/cat.ts'
import { openArchive } from '../../lib/commands/open-archive.ts'
import { openContent } from '../../lib/commands/open-content.ts'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { convertIn, differences, signal } from './convert-it.ts'
import { type ImageSpec, type Item, tarOf, writeLayout } from './make-image.ts'

const REPORT = { warn: () => undefined, progress: undefined }
const dir = t.testdir({})
const layout = join(dir, 'layout')

const items: Item[] = [
  { name: 'etc/', type: 'directory' },
  { name: 'etc/a', data: Buffer.alloc(1_200_000, 'some words ') },
  { name: 'etc/b', type: 'hardlink', target: 'etc/a' },
  { name: Buffer.from([0x6e, 0xff]), data: 'raw', mtime: -5, mtimeNs: 7, xattrs: { 'user.x': 'y' } },
  { name: 'dev', type: 'character', major: 1, minor: 3 },
]
const config = {
  Entrypoint: ['/bin/app', '-v'],
  Cmd: ['say "hi"', 'back\\slash'],
  Env: ['PATH=/bin', 'ODD.NAME=a=b', 'NOTHING'],
  WorkingDir: '/srv',
}
const spec: ImageSpec = { layers: [{ tar: tarOf(items) }, { tar: tarOf([{ name: 'etc/c', data: 'c' }]) }], config }

async function exported(archive: string, image: string): Promise<ExportResult> {
  return await exportArchive({ archive, image, cacheDir: join(dir, 'cache') }, signal())
}

async function readFile(archive: string, name: string): Promise<string | undefined> {
  using opened = await openArchive({ archive, cacheDir: join(dir, 'cache'), hub: undefined }, REPORT, signal())
  const row = opened.index.find(0, Buffer.from(name), 0, name.length)
  if (row < 0) return undefined
  await using content = await openContent(
    opened,
    { stores: [], timeoutMs: undefined, cacheBytesMax: undefined },
    SILENT,
  )
  const pieces: Buffer[] = []
  for await (const piece of fileBytes(opened.index, row, content, signal())) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

t.test('convert() gives the same archive however layers are packed and threads are many', async (t) => {
  const packed = (packing: 'gzip' | 'zstd' | 'none'): ImageSpec => ({
    ...spec,
    layers: spec.layers.map(({ tar }) => ({ tar, packing })),
  })
  writeLayout(layout, { gzip: packed('gzip'), zstd: packed('zstd'), none: packed('none') })
  const made = await convertIn(dir, `oci:${layout}:gzip`, 'gzip')
  t.match(made, { entries: 7, layers: 2, platform: 'linux/amd64', attributesLeftOut: 0 })
  t.equal((await convertIn(dir, `oci:${layout}:gzip`, 'again', { threads: 3 })).digest, made.digest, 'again')
  for (const tag of ['zstd', 'none']) {
    t.equal((await convertIn(dir, `oci:${layout}:${tag}`, tag)).digest, made.digest, `${tag} holds the same`)
  }
  t.equal((await convertIn(dir, `oci:${layout}:gzip`, 'again')).newBlocks, 0, 'no block is stored twice')
  t.strictSame(
    readdirSync(join(dir)).filter((name) => /tmp|part/.test(name)),
    [],
    'nothing is left',
  )
})

t.test('convert() says what to start in /.startup.toml, and keeps the configuration', async (t) => {
  writeLayout(layout, { app: spec, bare: { layers: spec.layers } })
  const made = await convertIn(dir, `oci:${layout}:app`, 'app', { startup: true })
  const text = await readFile(made.path, '.startup.toml')
  const { parse } = await import('smol-toml')
  t.strictSame(JSON.parse(JSON.stringify(parse(text ?? ''))), {
    startup: {
      entry: {
        name: 'core.system',
        args: {
          name: '/bin/app',
          args: ['-v', 'say "hi"', 'back\\slash'],
          dir: '/srv',
          env: { PATH: '/bin', 'ODD.NAME': 'a=b', NOTHING: '' },
        },
      },
    },
  })
  using opened = await openArchive(
    { archive: made.path, cacheDir: join(dir, 'cache'), hub: undefined },
    REPORT,
    signal(),
  )
  t.match(JSON.parse(opened.index.tags['x-oci-config'] ?? ''), { config, os: 'linux' })
  t.match(
    await readFile((await convertIn(dir, `oci:${layout}:bare`, 'bare', { startup: true })).path, '.startup.toml'),
    /"core.base"/,
    'nothing to start',
  )
  t.equal(
    await readFile((await convertIn(dir, `oci:${layout}:app`, 'without')).path, '.startup.toml'),
    undefined,
    '--no-startup',
  )
  writeLayout(layout, { own: { ...spec, layers: [{ tar: tarOf([{ name: '.startup.toml', data: 'own' }]) }] } })
  t.equal(
    await readFile((await convertIn(dir, `oci:${layout}:own`, 'own', { startup: true })).path, '.startup.toml'),
    'own',
    "the image's own stays",
  )
})

t.test('export gives an image back, that converts to the same tree', async (t) => {
  writeLayout(layout, { app: spec })
  const made = await convertIn(dir, `oci:${layout}:app`, 'made', { startup: true })
  const targets = [`oci:${dir}/out:x`, `oci-archive:${dir}/out.tar:x`, `docker-archive:${dir}/docker.tar:team/x`]
  const digests: string[] = []
  for (const image of targets) {
    const result = await exported(made.path, image)
    t.match(result, { entries: 7, leftOut: { length: 0 } }, image)
    digests.push(result.imageDigest)
    const back = await convertIn(dir, image, 'back', { startup: true })
    t.strictSame(await differences(dir, made.path, back.path), [], `${image} holds the same`)
  }
  t.equal(new Set(digests).size, 1, 'one image wherever it is written')
  const first = readFileSync(join(dir, 'out.tar'))
  await exported(made.path, targets[1] ?? '')
  t.ok(readFileSync(join(dir, 'out.tar')).equals(first), 'the same bytes again')
  await exported(made.path, `oci:${dir}/out:y`)
  const { manifests } = JSON.parse(readFileSync(join(dir, 'out/index.json'), 'utf8')) as { manifests: unknown[] }
  t.equal(manifests.length, 2, 'a layout takes several')
  for (const image of ['docker-daemon:x', 'podman:x', `h.example/a@sha256:${'a'.repeat(64)}`]) {
    await t.rejects(exported(made.path, image), { code: 'FLIST_USAGE' }, image)
  }
  const lost = { code: 'FLIST_USAGE', message: /is what is read/ }
  await t.rejects(exported(made.path, `docker-archive:${made.path}`), lost, 'an archive is not exported into itself')
  await t.rejects(convertIn(dir, `oci-archive:${made.path}`, 'made'), lost, 'nor an image converted')
  await t.rejects(exported(made.path, `oci-archive:${dir}/none/x.tar`), { code: 'FLIST_SYSTEM', message: /none/ })
  await t.rejects(exported(made.path, `oci:${dir}/gzip.fl/x`), { code: 'FLIST_SYSTEM' }, 'a file is no folder')
  t.strictSame(readdirSync(join(dir, 'cache/layers')), [], 'nothing is left')
})

const programs = ['skopeo', 'umoci'].find((name) => spawnSync(name, ['--version']).status !== 0)
const noPrograms = programs === undefined ? false : `needs ${programs}: sh test/setup.sh`
const noRoot = process.getuid?.() !== 0 && 'needs root'

t.test(
  'skopeo and umoci read what export writes, of a Debian root',
  { skip: NO_GOLDEN || noPrograms || noRoot },
  async (t) => {
    const golden = goldenDir() ?? ''
    const words = {
      archive: join(golden, 'fl/debian.fl'),
      image: `oci:${dir}/debian:12`,
      cacheDir: join(dir, 'cache'),
      stores: [`dir://${golden}/fl/store`],
      platform: 'linux/amd64',
    }
    const result = await exportArchive(words, signal())
    t.ok(result.entries > 2000)
    execFileSync('umoci', ['unpack', '--image', `${dir}/debian:12`, join(dir, 'bundle')], {
      stdio: 'ignore',
      timeout: 600_000,
    })
    // A second layer as umoci makes it of a change.
    const root = join(dir, 'bundle/rootfs')
    execFileSync('rm', ['-r', join(root, 'usr/share/zoneinfo/Europe')])
    writeFileSync(join(root, 'etc/hostname'), 'changed\n')
    execFileSync('umoci', ['repack', '--image', `${dir}/debian:13`, join(dir, 'bundle')], {
      stdio: 'ignore',
      timeout: 600_000,
    })
    execFileSync('umoci', ['unpack', '--image', `${dir}/debian:13`, join(dir, 'bundle13')], {
      stdio: 'ignore',
      timeout: 600_000,
    })
    const archive = `docker-archive:${dir}/debian.tar:debian:13`
    const words13 = ['--insecure-policy', 'copy', `oci:${dir}/debian:13`, archive]
    execFileSync('skopeo', words13, { stdio: 'ignore', timeout: 600_000 })
    const changed = await convertIn(dir, archive, 'debian13')
    t.equal(changed.layers, 2)
    t.strictSame(await differences(dir, changed.path, join(dir, 'bundle13/rootfs')), [], 'what umoci unpacks')
  },
)
