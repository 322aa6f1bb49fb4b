import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { ImageTree } from '../../lib/oci/image-tree.ts'
import { type ImageLayer, layerEntries, type UnfoldLimits } from '../../lib/oci/layer.ts'
import { type Item, memoryLayer, tarOf } from './make-image.ts'
import { octal, padded, paxBlocks, rawHeader } from './raw-tar.ts'

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 150)
const NEVER = new AbortController().signal

/** Reads it all as a conversion does: names into a tree, content too. */
async function readAll(layer: ImageLayer, unfold?: UnfoldLimits): Promise<{ names: string[]; bytes: number }> {
  const tree = new ImageTree()
  tree.beginLayer(0, layer.where)
  const names: string[] = []
  let bytes = 0
  for await (const found of layerEntries(layer, NEVER, unfold)) {
    tree.apply(found.entry, found.number)
    names.push(found.entry.name.toString('latin1'))
    for await (const piece of found.content()) bytes += piece.length
  }
  return { names, bytes }
}

const items: Item[] = [
  { name: 'dir', type: 'directory' },
  { name: 'dir/a', data: Buffer.alloc(3000, 'a') },
  { name: 'b', data: 'b', xattrs: { 'user.x': 'y' } },
]
const tar = tarOf(items)
const whole = { names: ['dir', 'dir/a', 'b'], bytes: 3001 }
const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9])

t.test('layerEntries() knows compression by content, however it is cut', async (t) => {
  const halves = [tar.subarray(0, 700), tar.subarray(700, 701), tar.subarray(701)]
  const bytewise = Array.from({ length: 300 }, (_, at) => tar.subarray(at * 16, at === 299 ? undefined : at * 16 + 16))
  const unsized = zstdCompressSync(tar, { pledgedSrcSize: tar.length })
  const cases: [string, Buffer][] = [
    ['plain', tar],
    ['gzip', gzipSync(tar)],
    ['members of gzip', Buffer.concat(halves.map((half) => gzipSync(half)))],
    ['an empty member', Buffer.concat([gzipSync(tar), gzipSync(Buffer.alloc(0))])],
    ['zeros behind gzip', Buffer.concat([gzipSync(tar), Buffer.alloc(100)])],
    ['zstd', zstdCompressSync(tar)],
    ['zstd of known size', unsized],
    ['frames of zstd', Buffer.concat(halves.map((half) => zstdCompressSync(half)))],
    ['many frames', Buffer.concat(bytewise.map((part) => zstdCompressSync(part)))],
    [
      'frames to skip',
      Buffer.concat([
        skippable,
        zstdCompressSync(tar.subarray(0, 999)),
        skippable,
        zstdCompressSync(tar.subarray(999)),
        skippable,
      ]),
    ],
    ['with a checksum', zstdCompressSync(tar, { params: { 201: 1 } })],
  ]
  for (const [what, stored] of cases) {
    for (const piece of [1, 7, 100_000])
      t.strictSame(await readAll(memoryLayer(tar, stored, piece)), whole, `${what} in pieces of ${piece}`)
  }
  const none = Buffer.alloc(0)
  t.strictSame((await readAll(memoryLayer(none))).names, [], 'nothing at all')
  t.strictSame((await readAll(memoryLayer(Buffer.alloc(1024)))).names, [], 'no entries')
})

t.test('layerEntries() refuses damage, other compressions and other content', async (t) => {
  const damaged = { code: 'FLIST_IMAGE_DAMAGED' }
  const [gzip, zstd] = [gzipSync(tar), zstdCompressSync(tar)]
  const cases: [string, Buffer, { code: string }][] = [
    ['gzip that is cut', gzip.subarray(0, -9), damaged],
    ['gzip with garbage behind', Buffer.concat([gzip, Buffer.from('garbage')]), damaged],
    ['zstd that is cut', zstd.subarray(0, -3), damaged],
    ['zstd with garbage behind', Buffer.concat([zstd, Buffer.from('garbage')]), damaged],
    ['zstd cut within a frame to skip', Buffer.concat([zstd, skippable.subarray(0, 9)]), damaged],
    ['xz', Buffer.from('fd377a585a000004e6d6b446', 'hex'), { code: 'FLIST_FORMAT_UNKNOWN' }],
    ['bzip2', Buffer.from('BZh91AY&SY......'), { code: 'FLIST_FORMAT_UNKNOWN' }],
    ['what is no tar', Buffer.from('hello '.repeat(200)), damaged],
    ['another tar', tarOf([{ name: 'other' }]), { code: 'FLIST_DIGEST_MISMATCH' }],
    ['more behind its end', Buffer.concat([tar, Buffer.alloc(512)]), { code: 'FLIST_DIGEST_MISMATCH' }],
  ]
  for (const [what, stored, expected] of cases) await t.rejects(readAll(memoryLayer(tar, stored)), expected, what)
})

t.test('layerEntries() stops bombs', async (t) => {
  const unfold = { ratioMax: 50, bytesFree: 1_000_000 }
  const zeros = tarOf([{ name: 'zeros', data: Buffer.alloc(8_000_000) }])
  for (const stored of [gzipSync(zeros), zstdCompressSync(zeros)]) {
    await t.rejects(readAll(memoryLayer(zeros, stored), unfold), {
      code: 'FLIST_LIMIT',
      message: /unfold to more than/,
    })
  }
  t.equal((await readAll(memoryLayer(zeros), unfold)).bytes, 8_000_000, 'the same, not compressed')
  const hole = (size: string): Buffer => {
    const records = [
      ['GNU.sparse.size', size],
      ['GNU.sparse.map', ''],
    ] as const
    return Buffer.concat([paxBlocks(records), rawHeader({ name: 'hole' }), Buffer.alloc(1024)])
  }
  await t.rejects(readAll(memoryLayer(hole('5000000')), unfold), { code: 'FLIST_LIMIT', message: /holes/ }, 'a hole')
  const absurd = [
    hole('4503599627370497'),
    Buffer.concat([paxBlocks([['size', '9007199254740991']]), rawHeader({ name: 'x' })]),
  ]
  for (const bytes of absurd) await t.rejects(readAll(memoryLayer(bytes)), { code: 'FLIST_LIMIT' }, 'an absurd size')
  const many = Buffer.concat(Array.from({ length: 300 }, () => padded(rawHeader({ name: 'd/'.repeat(49), type: '5' }))))
  t.equal((await readAll(memoryLayer(Buffer.concat([many, Buffer.alloc(1024)])))).names.length, 300)
  const longMap = `1\n${'9'.repeat(600)}\n`
  const sparse = Buffer.concat([
    paxBlocks([
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.realsize', '9'],
    ]),
    rawHeader({ name: 's', size: octal(1024) }),
    padded(longMap),
  ])
  await t.rejects(readAll(memoryLayer(sparse)), { code: 'FLIST_IMAGE_DAMAGED' }, 'a map without end')
})

t.test('layerEntries() meets mutated layers with codes alone', async (t) => {
  const link: Item[] = [
    { name: 'l', type: 'symlink', target: 'dir' },
    { name: 'l/x', data: 'x' },
    { name: 'h', type: 'hardlink', target: 'b' },
    { name: 'dir/.wh.a' },
  ]
  const seeds = [
    tarOf([...items, ...link]),
    gzipSync(tar),
    Buffer.concat([zstdCompressSync(tar.subarray(0, 512)), zstdCompressSync(tar.subarray(512))]),
  ]
  const change = fc.record({ at: fc.nat(), byte: fc.nat(255) })
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...seeds),
      fc.array(change, { minLength: 1, maxLength: 6 }),
      fc.nat(40),
      async (seed, changes, cut) => {
        const stored = Buffer.from(seed)
        for (const { at, byte } of changes) stored[at % stored.length] = byte
        const layer = memoryLayer(stored, cut < 5 ? stored.subarray(0, stored.length - cut * 50) : stored)
        try {
          await readAll(layer, { ratioMax: 10, bytesFree: 1 << 20 })
        } catch (error) {
          if (!(error instanceof FlistError)) throw error
        }
      },
    ),
    { numRuns: RUNS, verbose: 1 },
  )
  t.pass(`${RUNS} mutations`)
})
