import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { imageContents, mergeLayers } from '../../lib/oci/image.ts'
import { parsePlatform } from '../../lib/oci/platform.ts'
import { convertIn } from './convert-it.ts'
import { type ImageSpec, type Item, memoryLayer, putImage, sha256, tarOf, writeLayout } from './make-image.ts'
import { paxBlocks, rawHeader, withSum } from './raw-tar.ts'

/** A whole conversion each: fewer than where only a parser runs. */
const RUNS = Math.ceil(Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 150) / 5)
const NEVER = new AbortController().signal
const dir = t.testdir()
const layout = join(dir, 'layout')

/** Names that every object of JavaScript has. */
const INHERITED = ['__proto__', 'constructor', '__defineGetter__', 'toString', 'hasOwnProperty']

t.test('names that every object has are names like any others', async (t) => {
  for (const name of INHERITED) {
    const parts = [
      Buffer.concat([paxBlocks([[name, 'x']]), rawHeader({ name: 'record' })]),
      { name, data: 'x' },
      { name: `d/${name}/.wh.${name}` },
      { name: 'attribute', xattrs: { [`user.${name}`]: 'x' } },
    ]
    const tree = await mergeLayers([memoryLayer(tarOf(parts))], () => undefined, NEVER)
    t.strictSame([...(tree.root.children?.keys() ?? [])].toSorted(), ['attribute', name, 'record'].toSorted(), name)
    t.match(parsePlatform(`linux/${name}`), { os: 'linux', architecture: name.toLowerCase() })
    const config = { [name]: 'x', Labels: { [name]: 'x' }, Env: [`${name}=x`], Cmd: [name] }
    writeLayout(layout, { x: { layers: [{ tar: tarOf([{ name: 'a' }]) }], config } })
    t.equal((await convertIn(dir, `oci:${layout}:x`, 'inherited', { startup: true })).entries, 3, `${name} to run`)
  }
})

t.test('mergeLayers() counts what all layers together unfold to', async (t) => {
  const tar = tarOf([{ name: 'zeros', data: Buffer.alloc(400_000) }])
  const layer = memoryLayer(tar, gzipSync(tar))
  const merge = (count: number, imageBytesFree: number) =>
    mergeLayers(
      Array.from({ length: count }, () => layer),
      () => undefined,
      NEVER,
      {
        ratioMax: 50,
        bytesFree: 1_000_000,
        imageBytesFree,
      },
    )
  const limit = { code: 'FLIST_LIMIT', message: /unfold to more than/ }
  t.ok(await merge(4, 2_000_000), 'each alone is allowed, and all are')
  await t.rejects(merge(6, 2_000_000), limit, 'the same layer again and again')
  const records = [
    ['GNU.sparse.size', '900000'],
    ['GNU.sparse.map', ''],
  ] as const
  const hole = (name: string): Buffer => Buffer.concat([paxBlocks(records), rawHeader({ name })])
  const holes = ['a', 'b', 'c'].map((name) => memoryLayer(tarOf([hole(name)])))
  const limits = { ratioMax: 50, bytesFree: 1_000_000, imageBytesFree: 2_000_000 }
  await t.rejects(
    mergeLayers(holes, () => undefined, NEVER, limits),
    limit,
    'holes too',
  )
})

const items: Item[] = [
  { name: 'bin/', type: 'directory' },
  { name: 'bin/tool', data: 'the tool', mode: 0o4755, xattrs: { 'user.x': 'y' } },
  { name: 'link', type: 'symlink', target: 'bin' },
  { name: 'link/again', type: 'hardlink', target: 'bin/tool' },
  { name: 'null', type: 'character', major: 1, minor: 3 },
]
const tars = [tarOf(items), tarOf([{ name: 'bin/.wh.tool' }, { name: 'link/new', data: 'new' }])] as const

interface Change {
  readonly at: number
  readonly byte: number
}

/** With right checksums where the byte lies in a header: what is behind those is what is tried. */
function mutated(tar: Buffer, changes: readonly Change[]): Buffer {
  const bytes = Buffer.from(tar)
  for (const { at, byte } of changes) {
    const place = at % bytes.length
    bytes[place] = byte
    const block = place - (place % 512)
    if (bytes.toString('latin1', block + 257, block + 262) === 'ustar') withSum(bytes.subarray(block, block + 512))
  }
  return bytes
}

/** Converts and expects a result or a code, and that nothing is there that does not belong there. */
async function convertHostile(image: string, allowed: readonly string[]): Promise<boolean> {
  let isMade = true
  try {
    await convertIn(dir, image, 'made', { startup: true })
  } catch (error) {
    if (!(error instanceof FlistError)) throw error
    isMade = false
  }
  const there = readdirSync(dir).filter((name) => !allowed.includes(name))
  if (there.length > 0) throw new Error(`it has written ${there.join()}`)
  if (!isMade && readdirSync(dir).includes('made.fl')) throw new Error('a failed conversion has left an archive')
  rmSync(join(dir, 'made.fl'), { force: true })
  const layers = readdirSync(join(dir, 'cache/layers'))
  if (layers.length > 0) throw new Error(`left behind: ${layers.join()}`)
  return isMade
}

const change = fc.record({ at: fc.nat(), byte: fc.oneof(fc.nat(255), fc.constantFrom(0x2e, 0x2f, 0x30, 0x31, 0x35)) })
const ALLOWED = ['layout', 'archive.tar', 'blocks', 'cache', 'made.fl']

t.test('convert() meets mutated layers with codes alone, and writes nothing elsewhere', async (t) => {
  rmSync(join(dir, 'inherited.fl'))
  mkdirSync(join(dir, 'cache/layers'), { recursive: true })
  let made = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 6 }),
      fc.array(change, { maxLength: 6 }),
      fc.constantFrom('gzip' as const, 'zstd' as const),
      async (lower, upper, packing) => {
        const layers = [mutated(tars[0], lower), mutated(tars[1], upper)].map((tar) => ({ tar, packing }))
        writeLayout(layout, { x: { layers } })
        if (await convertHostile(`oci:${layout}:x`, ALLOWED)) made += 1
        rmSync(layout, { recursive: true })
      },
    ),
    { numRuns: RUNS, verbose: 1, examples: [[[], [], 'gzip']] },
  )
  t.ok(made > 0 && made < RUNS, `${RUNS} mutations, ${made} of them images`)
})

/** An archive of either kind, with the tars of `spec`. */
function archiveOf(spec: ImageSpec, kind: 'oci-archive' | 'docker-archive'): Buffer {
  const blobs: [string, Buffer][] = []
  const manifest = putImage(spec, (bytes, mediaType) => {
    const digest = sha256(bytes)
    blobs.push([`blobs/${digest.replace(':', '/')}`, bytes])
    return { mediaType, digest, size: bytes.length }
  })
  const names = blobs.map(([name]) => name)
  const index = { schemaVersion: 2, manifests: [manifest] }
  const docker = [{ Config: names.at(-2), RepoTags: ['app:1'], Layers: names.slice(0, -2) }]
  const last: Item =
    kind === 'oci-archive'
      ? { name: 'index.json', data: JSON.stringify(index) }
      : { name: 'manifest.json', data: JSON.stringify(docker) }
  return tarOf([...blobs.map(([name, data]): Item => ({ name, data })), last])
}

t.test('convert() meets mutated archives with codes alone, and writes nothing elsewhere', async (t) => {
  const path = join(dir, 'archive.tar')
  const spec: ImageSpec = { layers: tars.map((tar) => ({ tar, packing: 'none' })) }
  let made = 0
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('oci-archive' as const, 'docker-archive' as const),
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.option(fc.nat()),
      async (kind, changes, cut) => {
        const bytes = mutated(archiveOf(spec, kind), changes)
        writeFileSync(path, cut === null ? bytes : gzipSync(bytes).subarray(0, cut % bytes.length))
        if (await convertHostile(`${kind}:${path}`, ALLOWED)) made += 1
      },
    ),
    { numRuns: RUNS, verbose: 1 },
  )
  t.ok(made < RUNS, `${RUNS} mutations, ${made} of them images`)
})

t.test('bytes of a layer that changes between its two readings are not believed', async (t) => {
  const layer = memoryLayer(tars[0])
  let readings = 0
  const changing = {
    ...layer,
    open: (signal: AbortSignal) => ((readings += 1) === 1 ? layer.open(signal) : memoryLayer(tarOf([])).open(signal)),
  }
  const tree = await mergeLayers([changing], () => undefined, NEVER)
  await t.rejects(
    (async () => {
      for await (const { bytes } of imageContents(tree, [changing], NEVER)) for await (const _ of bytes);
    })(),
    { code: 'FLIST_DIGEST_MISMATCH' },
  )
  t.equal(readings, 2)
})
