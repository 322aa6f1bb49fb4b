import { execFileSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync, openSync, writeSync, closeSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { FlistError, LIMITS } from '../../../lib/base/index.ts'
import type { TarEntry } from '../../../lib/oci/tar/tar-entry.ts'
import { TarReader } from '../../../lib/oci/tar/tar-reader.ts'
import { TAR_END, tarHeader } from '../../../lib/oci/tar/tar-writer.ts'
import { entryOf, type Item, tarOf } from '../make-image.ts'
import { base256, inPieces, octal, padded, paxBlocks, rawHeader, withSum } from '../raw-tar.ts'

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 200)

/** Holes that are larger are not read to their end. */
const CONTENT_MAX = 1 << 20

type Read = TarEntry & { readonly data: Buffer }

async function readTar(
  bytes: Buffer,
  options: { piece?: number; globals?: boolean; contentMax?: number } = {},
): Promise<Read[]> {
  const { piece = 700, globals = false, contentMax = Number.POSITIVE_INFINITY } = options
  const reader = new TarReader(inPieces(bytes, piece), { where: 'tar', globals })
  const found: Read[] = []
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const pieces: Buffer[] = []
    let length = 0
    for await (const part of reader.content()) {
      pieces.push(Buffer.from(part))
      length += part.length
      if (length > contentMax) break
    }
    found.push({ ...entry, data: Buffer.concat(pieces) })
  }
  await reader.drain()
  return found
}

async function only(bytes: Buffer): Promise<Read> {
  const [entry, ...more] = await readTar(Buffer.concat([bytes, TAR_END]))
  if (entry === undefined || more.length > 0) throw new Error('one entry is wanted')
  return entry
}

t.test('TarReader reads what tarHeader() writes', async (t) => {
  const items: Item[] = [
    { name: 'a/b', data: 'content', mode: 0o4755, uid: 12, gid: 34 },
    { name: 'x'.repeat(101), data: Buffer.alloc(511, 1) },
    { name: Buffer.concat([Buffer.alloc(150, 0xff), Buffer.from('/'), Buffer.alloc(150, 0xfe)]), type: 'directory' },
    { name: 'link', type: 'symlink', target: Buffer.alloc(4000, 0xe9) },
    { name: 'hard', type: 'hardlink', target: 'a/b' },
    { name: 'big ids', uid: 4_000_000_000, gid: 2_097_152 },
    { name: 'times', mtime: -2, mtimeNs: 1, data: Buffer.alloc(512, 2) },
    { name: 'times2', mtime: -3_000_000_000, mtimeNs: 0 },
    { name: 'times3', mtime: 1e12, mtimeNs: 999_999_999 },
    { name: 'dev', type: 'character', major: 4095, minor: 1_048_575 },
    {
      name: 'x',
      xattrs: { 'user.a=b%c': Buffer.from([0, 1, 10, 61]), 'user.z': 'z'.repeat(65_536), 'user.empty': '' },
    },
  ]
  for (const piece of [1, 511, 512, 513, 1 << 20]) {
    const read = await readTar(tarOf(items), { piece })
    t.strictSame(
      read.map(({ data: _data, ...entry }) => ({
        ...entry,
        xattrs: [...entry.xattrs].sort((a, b) => a.name.compare(b.name)),
      })),
      items
        .map(entryOf)
        .map((entry) => ({ ...entry, xattrs: [...entry.xattrs].sort((a, b) => a.name.compare(b.name)) })),
      `in pieces of ${piece}`,
    )
    t.strictSame(
      read.map(({ data }) => data),
      items.map(({ data = '' }) => Buffer.from(data as string)),
    )
  }
})

t.test('TarReader reads old and foreign headers', async (t) => {
  const v7 = withSum(rawHeader({ name: 'old/', type: '\0', magic: Buffer.alloc(8), prefix: 'not one' }))
  t.match(await only(v7), { name: Buffer.from('old/'), type: 'directory', mode: 0o644 })
  const prefixed = rawHeader({ name: 'name', prefix: 'pre/fix' })
  t.match(await only(prefixed), { name: Buffer.from('pre/fix/name'), type: 'file' })
  const star = rawHeader({ name: 'name', magic: 'ustar\x0000', starPrefix: 'p'.repeat(131), starTrailer: 'tar\0' })
  t.match(await only(star), { name: Buffer.from(`${'p'.repeat(131)}/name`) })
  const gnu = { magic: 'ustar  \0' }
  const longName = Buffer.concat([
    rawHeader({ ...gnu, name: '././@LongLink', type: 'L', size: octal(301) }),
    padded(`${'n'.repeat(300)}\0`),
    rawHeader({ ...gnu, name: '././@LongLink', type: 'K', size: octal(401) }),
    padded(`${'t'.repeat(400)}\0`),
    rawHeader({ ...gnu, name: 'n', type: '2', target: 't', prefix: 'atime' }),
  ])
  t.match(await only(longName), {
    name: Buffer.from('n'.repeat(300)),
    target: Buffer.from('t'.repeat(400)),
    type: 'symlink',
  })
  const binary = rawHeader({ name: 'b', uid: base256(3_000_000_000n, 8), mtime: base256(-5n, 12), gid: ' 17 \0' })
  t.match(await only(binary), { uid: 3_000_000_000, mtime: -5, gid: 0o17 })
  const signed = rawHeader({ name: Buffer.from([0xff, 0xff]) })
  signed.write(
    `${octal(
      signed.fill(0x20, 148, 156).reduce((sum, byte) => sum + ((byte << 24) >> 24), 0),
      6,
    )}\0 `,
    148,
    'latin1',
  )
  t.match(await only(signed), { name: Buffer.from([0xff, 0xff]) }, 'a checksum of signed bytes')
  const label = Buffer.concat([rawHeader({ ...gnu, name: 'label', type: 'V' }), rawHeader({ name: 'f', type: '7' })])
  t.match(await only(label), { name: Buffer.from('f'), type: 'file' })
})

t.test('TarReader applies pax records', async (t) => {
  const name = Buffer.from([0x61, 0xff, 0x0a, 0x3d])
  const records: [string, string | Buffer][] = [
    ['path', name],
    ['linkpath', 'to'],
    ['uid', '5000000'],
    ['gid', '7'],
    ['mtime', '-1.25'],
    ['comment', 'none'],
    ['SCHILY.xattr.user.k', Buffer.from([0, 10, 255])],
    ['LIBARCHIVE.xattr.user.%3D%25', Buffer.from('hi').toString('base64').replace('=', '')],
    ['gid', ''],
  ]
  const entry = await only(Buffer.concat([paxBlocks(records), rawHeader({ name: 'n', type: '2', gid: '0000003' })]))
  t.match(entry, { name, target: Buffer.from('to'), uid: 5_000_000, gid: 3, mtime: -2, mtimeNs: 750_000_000 })
  t.strictSame(entry.xattrs, [
    { name: Buffer.from('user.k'), value: Buffer.from([0, 10, 255]) },
    { name: Buffer.from('user.=%'), value: Buffer.from('hi') },
  ])
  const sized = Buffer.concat([paxBlocks([['size', '3']]), rawHeader({ name: 's', size: octal(0) }), padded('abc')])
  t.strictSame((await only(sized)).data, Buffer.from('abc'))
  const global = Buffer.concat([
    paxBlocks([['uid', '42']], 'g'),
    rawHeader({ name: 'a' }),
    rawHeader({ name: 'b' }),
    TAR_END,
  ])
  t.strictSame(
    (await readTar(global)).map(({ uid }) => uid),
    [0, 0],
    'as container programs',
  )
  t.strictSame(
    (await readTar(global, { globals: true })).map(({ uid }) => uid),
    [42, 42],
    'as POSIX',
  )
  const large = paxBlocks([['comment', 'x'.repeat(LIMITS.tarHeaderBytesMax / 2)]], 'g')
  const twice = tarOf([large, { name: 'a' }, large, { name: 'b' }])
  t.equal((await readTar(twice)).length, 2, 'nothing is kept of what is not heeded')
  await t.rejects(readTar(twice, { globals: true }), { code: 'FLIST_LIMIT', message: /global headers/ })
})

t.test('TarReader reads sparse files of every format of GNU tar', async (t) => {
  const dir = t.testdir()
  const path = join(dir, 'sparse')
  // More ranges than the 4 of a header and the 21 of its first block.
  const size = 64 * 1024 * 60
  truncateSync(openNew(path), size)
  const fd = openSync(path, 'r+')
  const want = Buffer.alloc(size)
  for (let at = 0; at < 30; at += 1) {
    const text = Buffer.from(`range ${at} `.repeat(20))
    writeSync(fd, text, 0, text.length, at * 131_072 + 4096)
    text.copy(want, at * 131_072 + 4096)
  }
  closeSync(fd)
  truncateSync(openNew(join(dir, 'hole')), 1_000_000)
  for (const format of [
    'oldgnu',
    'gnu',
    'pax --sparse-version=0.0',
    'pax --sparse-version=0.1',
    'pax --sparse-version=1.0',
  ]) {
    const tar = execFileSync('tar', ['-cSf', '-', ...`--format=${format}`.split(' '), '-C', dir, 'sparse', 'hole'], {
      maxBuffer: 1 << 26,
    })
    const [sparse, hole] = await readTar(tar)
    t.ok(tar.length < size / 2, `${format} is sparse`)
    t.match(sparse, { name: Buffer.from('sparse'), type: 'file', size }, format)
    t.ok(sparse?.data.equals(want), `${format}: its content`)
    t.ok(hole?.data.equals(Buffer.alloc(1_000_000)), `${format}: nothing but a hole`)
  }
})

function openNew(path: string): string {
  writeFileSync(path, '')
  return path
}

t.test('TarReader reads what GNU tar makes of nasty names', async (t) => {
  const dir = t.testdir()
  const deep = join(dir, 'root', ...Array.from({ length: 6 }, () => 'd'.repeat(60)))
  mkdirSync(deep, { recursive: true })
  writeFileSync(Buffer.concat([Buffer.from(`${deep}/`), Buffer.from([0x66, 0xff, 0x0a, 0x20])]), 'x')
  const want = [...Array(6).keys()].map((n) => `root/${Array.from({ length: n + 1 }, () => 'd'.repeat(60)).join('/')}`)
  for (const format of ['v7', 'ustar', 'oldgnu', 'gnu', 'pax']) {
    const from = format === 'v7' || format === 'ustar' ? 'root/' + 'd'.repeat(60) : 'root'
    const words = ['-cf', '-', `--format=${format}`, '-C', dir, ...(from === 'root' ? [] : ['--no-recursion']), from]
    const names = (await readTar(execFileSync('tar', words))).map(({ name }) =>
      name.toString('latin1').replace(/\/$/, ''),
    )
    if (from === 'root') t.strictSame(names, ['root', ...want, `${want[5] ?? ''}/f\xff\n `], format)
    else t.strictSame(names, [from], format)
  }
})

t.test('TarReader refuses what is torn, with a code', async (t) => {
  const good = tarOf([{ name: 'file', data: Buffer.alloc(2000, 7), xattrs: { 'user.a': 'b' } }])
  for (const end of [100, 512, 700, 1100, 1540, 2000, 2600, 3000]) {
    await t.rejects(readTar(good.subarray(0, end)), { code: 'FLIST_IMAGE_DAMAGED' }, `cut at ${end}`)
  }
  const sum = Buffer.from(good)
  sum[148] = 0x39
  const cases: [string, Buffer, string?][] = [
    ['a wrong checksum', sum],
    ['a number that is none', rawHeader({ name: 'a', uid: '12x4567' })],
    ['a size below 0', rawHeader({ name: 'a', size: base256(-1n, 12) })],
    ['a size beyond 2^53', rawHeader({ name: 'a', size: base256(2n ** 60n, 12) })],
    ['an unknown type', rawHeader({ name: 'a', type: 'Q' })],
    ['one empty block', Buffer.concat([Buffer.alloc(512), rawHeader({ name: 'a' })])],
    ['a name with a NUL', Buffer.concat([paxBlocks([['path', 'a\0b']]), rawHeader({ name: 'a' })])],
    ['a time that is none', Buffer.concat([paxBlocks([['mtime', '1e9']]), rawHeader({ name: 'a' })])],
    ['a huge header', rawHeader({ name: 'x', type: 'x', size: octal(2 ** 30) }), 'FLIST_LIMIT'],
    ['headers without end', Buffer.concat(Array.from({ length: 2100 }, () => paxBlocks([['a', 'b']]))), 'FLIST_LIMIT'],
    ['a header at the end', paxBlocks([['a', 'b']])],
    [
      'records that are torn',
      Buffer.concat([rawHeader({ name: 'x', type: 'x', size: octal(9) }), padded('99 a=bcd\n')]),
    ],
    [
      'records without a blank',
      Buffer.concat([rawHeader({ name: 'x', type: 'x', size: octal(9) }), padded('123456789')]),
    ],
  ]
  for (const [what, bytes, code = 'FLIST_IMAGE_DAMAGED'] of cases) {
    await t.rejects(readTar(Buffer.concat([bytes, TAR_END])), { code, message: /^Cannot use / }, what)
  }
  const sparse = (...records: [string, string][]) =>
    Buffer.concat([paxBlocks(records), rawHeader({ name: 'a', size: octal(4) }), padded('abcd')])
  const maps: [string, Buffer][] = [
    ['out of order', sparse(['GNU.sparse.size', '100'], ['GNU.sparse.map', '50,2,10,2'])],
    ['beyond its size', sparse(['GNU.sparse.size', '100'], ['GNU.sparse.map', '98,4'])],
    ['longer than its data', sparse(['GNU.sparse.size', '100'], ['GNU.sparse.map', '0,5'])],
    ['without a size', sparse(['GNU.sparse.map', '0,4'])],
    ['half', sparse(['GNU.sparse.size', '100'], ['GNU.sparse.map', '0,4,5'])],
    ['of another count', sparse(['GNU.sparse.size', '9'], ['GNU.sparse.numblocks', '3'], ['GNU.sparse.map', '0,4'])],
    ['of a version to come', sparse(['GNU.sparse.major', '2'], ['GNU.sparse.minor', '0'])],
    ['1.0 without lines', sparse(['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.realsize', '9'])],
    ['with a range of less than nothing', oldSparse([0, 100, 100, -50, 50, 100], 150)],
    ['of less than nothing', oldSparse([], -5)],
  ]
  for (const [what, bytes] of maps) {
    await t.rejects(readTar(Buffer.concat([bytes, TAR_END])), { code: 'FLIST_IMAGE_DAMAGED' }, `a map ${what}`)
  }
})

/** GNU tar's first format: offset and size of each range, and data for all of them. */
function oldSparse(ranges: readonly number[], size: number): Buffer {
  const data = Buffer.alloc(
    ranges.reduce((sum, number, at) => sum + (at % 2) * number, 0),
    1,
  )
  const number = (value: number): Buffer => base256(BigInt(value), 12)
  const fields = { sparse: Buffer.concat(ranges.map(number)), sparseSize: number(size), size: octal(data.length) }
  return Buffer.concat([rawHeader({ name: 'o', type: 'S', magic: 'ustar  \0', ...fields }), padded(data)])
}

t.test('TarReader meets mutated tars with codes alone, and gives as many bytes as it says', async (t) => {
  const seeds = [
    tarOf([
      { name: 'dir', type: 'directory' },
      { name: 'dir/file', data: 'some data', xattrs: { 'user.x': 'y' } },
      { name: 'l', type: 'symlink', target: 'dir' },
    ]),
    Buffer.concat([
      paxBlocks([
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.minor', '0'],
        ['GNU.sparse.name', 's'],
        ['GNU.sparse.realsize', '1000'],
      ]),
      rawHeader({ name: 's', size: octal(516) }),
      padded('1\n996\n4\n'),
      padded('tail'),
      TAR_END,
    ]),
    Buffer.concat([
      rawHeader({
        name: 'o',
        type: 'S',
        magic: 'ustar  \0',
        size: octal(4),
        sparse: `${octal(8)}\0${octal(4)}\0`,
        sparseSize: `${octal(100)}\0`,
      }),
      padded('abcd'),
      TAR_END,
    ]),
    Buffer.concat([oldSparse([0, 4, 8, 4, 100, 4], 200), TAR_END]),
  ]
  const change = fc.record({ at: fc.nat(), byte: fc.nat(255), resum: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...seeds),
      fc.array(change, { minLength: 1, maxLength: 8 }),
      fc.nat(3000),
      async (seed, changes, cut) => {
        const bytes = Buffer.from(seed)
        for (const { at, byte, resum } of changes) {
          const place = at % bytes.length
          bytes[place] = byte
          const block = place - (place % 512)
          if (resum) withSum(bytes.subarray(block, block + 512))
        }
        try {
          const whole = cut < 300 ? bytes.subarray(0, bytes.length - cut) : bytes
          for (const { type, size, data } of await readTar(whole, { contentMax: CONTENT_MAX })) {
            const isWrong = data.length > CONTENT_MAX ? size <= CONTENT_MAX : data.length !== size
            if (isWrong) throw new Error(`a ${type} of ${size} bytes gives ${data.length}`)
          }
        } catch (error) {
          if (!(error instanceof FlistError)) throw error
        }
      },
    ),
    { numRuns: RUNS, verbose: 1 },
  )
  t.pass(`${RUNS} mutations`)
})

t.test('tarHeader() depends on the entry alone', async (t) => {
  const entry = entryOf({ name: 'a'.repeat(300), mtimeNs: 5 })
  t.ok(tarHeader(entry).equals(tarHeader({ ...entry })))
})
