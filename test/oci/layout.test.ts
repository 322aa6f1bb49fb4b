import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { openImage } from '../../lib/oci/open-image.ts'
import { type ImageSpec, putImage, putInto, sha256, tarOf, writeLayout } from './make-image.ts'
import { openOptions } from './open-options.ts'

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 150)
const NEVER = new AbortController().signal
const dir = t.testdir({ spool: {} })
const spool = join(dir, 'spool')

const one: ImageSpec = { layers: [{ tar: tarOf([{ name: 'a', data: 'a' }]) }] }
const two: ImageSpec = { layers: [...one.layers, { tar: tarOf([{ name: 'b', data: 'b' }]), packing: 'zstd' }] }

async function opened(
  name: string,
  platform = 'linux/amd64',
): Promise<{ digest: string; layers: number; platform: string }> {
  const image = await openImage(name, openOptions(spool, { platform }), NEVER)
  await image.close(true)
  return { digest: image.digest, layers: image.layers.length, platform: image.platform }
}

t.test('openImage() finds images of a layout by tag and digest, in a folder and in an archive', async (t) => {
  const layout = join(dir, 'layout')
  writeLayout(layout, { one, two })
  const archive = join(dir, 'layout.tar')
  execFileSync('tar', ['-cf', archive, '-C', layout, '.'])
  writeFileSync(`${archive}.gz`, gzipSync(readFileSync(archive)))
  for (const base of [`oci:${layout}`, `oci-archive:${archive}`, `oci-archive:${archive}.gz`]) {
    const found = await opened(`${base}:two`)
    t.match(found, { layers: 2, platform: 'linux/amd64' })
    t.strictSame(await opened(`${base}:@${found.digest}`), found, 'by digest')
    t.equal((await opened(`${base}:one`)).layers, 1)
    await t.rejects(opened(base), { code: 'FLIST_NOT_FOUND', hint: /one, two/ }, 'which of the two')
    await t.rejects(opened(`${base}:three`), { code: 'FLIST_NOT_FOUND' })
    await t.rejects(opened(`${base}:one`, 'linux/arm64'), { code: 'FLIST_NOT_FOUND', hint: /linux\/amd64/ })
  }
  await t.rejects(opened(`oci:${dir}/absent`), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(opened(`oci-archive:${dir}/absent`), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(opened(`docker-archive:${archive}`), { code: 'FLIST_IMAGE_DAMAGED', message: /manifest.json/ })
})

t.test('openImage() chooses from an index, and passes over attestations', async (t) => {
  const layout = join(dir, 'multi')
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true })
  const put = putInto(layout)
  const entry = (spec: ImageSpec, os: string, architecture: string, variant?: string): object => ({
    ...putImage({ ...spec, os, architecture, ...(variant === undefined ? {} : { variant }) }, put),
    platform: { os, architecture, variant },
  })
  const manifests = [
    entry(one, 'linux', 'arm64', 'v8'),
    entry(one, 'unknown', 'unknown'),
    entry(two, 'linux', 'amd64'),
    entry(one, 'windows', 'amd64'),
  ]
  const inner = put(
    Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })),
    'application/vnd.oci.image.index.v1+json',
  )
  const outer = (digest: { digest: string }): void =>
    writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [digest] }))
  outer(inner)
  t.match(await opened(`oci:${layout}`), { layers: 2, platform: 'linux/amd64' })
  t.match(await opened(`oci:${layout}`, 'linux/arm64'), { layers: 1, platform: 'linux/arm64/v8' })
  await t.rejects(opened(`oci:${layout}`, 'linux/riscv64'), {
    code: 'FLIST_NOT_FOUND',
    hint: /linux\/arm64\/v8, linux\/amd64, windows\/amd64$/,
  })
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  t.match(await opened(`oci:${layout}`), { layers: 2 }, 'the index of the layout itself')
  let nested = inner
  for (let depth = 0; depth < 5; depth += 1) {
    const platform = { os: 'linux', architecture: 'amd64' }
    nested = put(
      Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [{ ...nested, platform }] })),
      inner.mediaType,
    )
  }
  outer(nested)
  await t.rejects(opened(`oci:${layout}`), { code: 'FLIST_LIMIT', message: /deep/ })
})

t.test('openImage() reads docker archives, also old ones with links between layers', async (t) => {
  const tar = tarOf([{ name: 'a', data: 'a' }])
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { diff_ids: [sha256(tar), sha256(tar)] },
  })
  const manifest = [
    { Config: 'c.json', RepoTags: ['app:1', 'docker.io/library/app:2'], Layers: ['x/layer.tar', 'y/layer.tar'] },
  ]
  const archive = tarOf([
    { name: 'x/layer.tar', data: tar },
    { name: 'y/layer.tar', type: 'symlink', target: '../x/layer.tar' },
    { name: 'c.json', data: config },
    { name: './manifest.json', data: JSON.stringify(manifest) },
  ])
  const path = join(dir, 'docker.tar')
  writeFileSync(path, archive)
  t.match(await opened(`docker-archive:${path}`), { layers: 2, platform: 'linux/amd64' })
  t.match(await opened(`docker-archive:${path}:app:1`), { layers: 2 })
  t.match(await opened(`docker-archive:${path}:app:2`), { layers: 2 })
  await t.rejects(opened(`docker-archive:${path}:app:3`), { code: 'FLIST_NOT_FOUND', hint: /app:1/ })
  writeFileSync(
    path,
    tarOf([
      { name: 'manifest.json', data: JSON.stringify(manifest) },
      { name: 'c.json', type: 'symlink', target: '../../etc/passwd' },
    ]),
  )
  await t.rejects(opened(`docker-archive:${path}`), { code: 'FLIST_IMAGE_DAMAGED' }, 'links out of it lead nowhere')
})

t.test('openImage() refuses what is not what its digest says, and what is no image', async (t) => {
  const layout = join(dir, 'broken')
  const make = (): void => writeLayout(layout, { one })
  const damage = async (media: RegExp, change: (text: Buffer) => Buffer, code: string, what: string): Promise<void> => {
    make()
    const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: { digest: string }[] }
    const manifestPath = join(layout, 'blobs', String(index.manifests[0]?.digest.replace(':', '/')))
    const manifest = JSON.parse(readFileSync(manifestPath, 'utf8')) as {
      config: { digest: string }
      layers: { digest: string }[]
    }
    const paths: Record<string, string | undefined> = {
      manifest: manifestPath,
      config: manifest.config.digest,
      layer: manifest.layers[0]?.digest,
    }
    for (const [name, at] of Object.entries(paths)) {
      if (!media.test(name) || at === undefined) continue
      const path = at.startsWith('/') ? at : join(layout, 'blobs', at.replace(':', '/'))
      writeFileSync(path, change(readFileSync(path)))
    }
    await t.rejects(opened(`oci:${layout}`), { code }, what)
  }
  const flip = (bytes: Buffer): Buffer => {
    const out = Buffer.from(bytes)
    out[20] = (out[20] ?? 0) ^ 1
    return out
  }
  for (const part of ['manifest', 'config', 'layer']) {
    await damage(new RegExp(part), flip, 'FLIST_DIGEST_MISMATCH', `${part}: another byte`)
    await damage(new RegExp(part), (bytes) => bytes.subarray(1), 'FLIST_DIGEST_MISMATCH', `${part}: shorter`)
  }
  const specs: [string, ImageSpec, string][] = [
    [
      'encrypted',
      { layers: [{ tar: tarOf([]), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted' }] },
      'FLIST_FORMAT_UNKNOWN',
    ],
    [
      'no layer',
      { layers: [{ tar: tarOf([]), mediaType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip' }] },
      'FLIST_FORMAT_UNKNOWN',
    ],
    ['a strange digest', { layers: [{ tar: tarOf([]), diffId: 'md5:123' }] }, 'FLIST_IMAGE_DAMAGED'],
  ]
  for (const [what, spec, code] of specs) {
    writeLayout(layout, { one: spec })
    await t.rejects(opened(`oci:${layout}`), { code }, what)
  }
  writeFileSync(join(layout, 'index.json'), Buffer.alloc(5_000_000, ' '))
  await t.rejects(opened(`oci:${layout}`), { code: 'FLIST_LIMIT' }, 'a huge index')
})

t.test('openImage() bounds the names of an archive', async (t) => {
  const path = join(dir, 'names.tar')
  const target = Buffer.alloc(1_000_000, 0x78)
  // One after the other: `npm run fuzz` bounds what this file takes.
  for (let nth = 0; nth < 70; nth += 1) {
    appendFileSync(path, tarOf([{ name: `${nth}`, type: 'symlink', target }], Buffer.alloc(0)))
  }
  await t.rejects(opened(`docker-archive:${path}`), { code: 'FLIST_LIMIT', message: /names/ })
})

t.test('openImage() meets mutated manifests with codes alone', async (t) => {
  const layout = join(dir, 'mutated')
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true })
  const blobs: Buffer[] = []
  const put = putInto(layout)
  const keep: typeof put = (bytes, mediaType) => {
    if (mediaType.includes('json')) blobs.push(bytes)
    return put(bytes, mediaType)
  }
  const manifest = putImage(two, keep)
  const [config = Buffer.alloc(0), manifestBytes = Buffer.alloc(0)] = blobs
  const words = ['null', '[]', '{}', '-1', '1e99', '""', '"sha256:x"', 'true', '"../../x"', '9007199254740993']
  const change = fc.record({
    at: fc.nat(),
    word: fc.option(fc.constantFrom(...words)),
    byte: fc.integer({ min: 32, max: 126 }),
  })
  const mutate = (bytes: Buffer, changes: readonly { at: number; word: string | null; byte: number }[]): Buffer => {
    let text = bytes.toString('latin1')
    for (const { at, word, byte } of changes) {
      const values = [...text.matchAll(/:("[^"]*"|\d+|\[[^\]]*\]|\{[^}]*\})/g)]
      const value = values[at % Math.max(values.length, 1)]
      const place = at % text.length
      text =
        word === null || value === undefined
          ? text.slice(0, place) + String.fromCharCode(byte) + text.slice(place + 1)
          : `${text.slice(0, value.index + 1)}${word}${text.slice(value.index + value[0].length)}`
    }
    return Buffer.from(text, 'latin1')
  }
  const index = (blob: object): Buffer => Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [blob] }))
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('index', 'manifest', 'config'),
      fc.array(change, { minLength: 1, maxLength: 4 }),
      async (which, changes) => {
        let top = manifest
        if (which === 'manifest') top = put(mutate(manifestBytes, changes), manifest.mediaType)
        if (which === 'config') {
          const changed = put(mutate(config, changes), 'application/vnd.oci.image.config.v1+json')
          const document = JSON.parse(manifestBytes.toString()) as object
          top = put(Buffer.from(JSON.stringify({ ...document, config: changed })), manifest.mediaType)
        }
        writeFileSync(join(layout, 'index.json'), which === 'index' ? mutate(index(top), changes) : index(top))
        try {
          await opened(`oci:${layout}`)
        } catch (error) {
          if (!(error instanceof FlistError)) throw error
        }
      },
    ),
    { numRuns: RUNS, verbose: 1 },
  )
  t.pass(`${RUNS} mutations`)
})
