import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import t from 'tap'
import { FlistError, LIMITS } from '../../lib/base/index.ts'
import { codecTools, declaredBytes, prepareCodec } from '../../lib/store/codec-tools.ts'
import { decodeSlowly, sealSlowly } from '../../lib/store/codec-fl.ts'
import { decodeBlock, encodeBlock } from '../../lib/store/codec.ts'
import type { BlockFormat } from '../../lib/store/port.ts'
import { xxteaDecrypt, xxteaEncrypt } from '../../lib/store/xxtea.ts'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { blockOf, makeBlock } from './blocks.ts'

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 300)
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex')

t.throws(() => encodeBlock('fl', Buffer.alloc(1)), /prepareCodec/)
await prepareCodec()

interface Vector {
  readonly plain: string
  readonly key: string
  readonly encrypted: string
  readonly id?: string
  readonly hash?: string
}

void t.test('vectors of both formats', { skip: NO_GOLDEN }, async (t) => {
  for (const format of ['fl', 'v1'] as const) {
    const vectors = JSON.parse(readFileSync(join(goldenDir()!, format, 'vectors.json'), 'utf8')) as { chunk: Vector[] }
    t.ok(vectors.chunk.length > 0)
    for (const { plain, key, encrypted, id, hash } of vectors.chunk) {
      const made = encodeBlock(format, bytes(plain))
      t.equal(made.key.toString('hex'), key)
      if (format === 'fl') {
        t.equal(made.stored.toString('hex'), encrypted)
        t.equal(made.id.toString('hex'), id)
      }
      const ref = { format, id: bytes(id ?? hash ?? ''), key: bytes(key), plainBytes: plain.length / 2 }
      t.equal(decodeBlock(ref, bytes(encrypted)).toString('hex'), plain)
    }
  }
})

void t.test('XXTEA vectors of the reference library', { skip: NO_GOLDEN }, async (t) => {
  const file = join(goldenDir()!, 'v1/vectors.json')
  const { xxtea } = JSON.parse(readFileSync(file, 'utf8')) as {
    xxtea: { plain: string; key: string; cipher: string }[]
  }
  t.ok(xxtea.length >= 60)
  for (const { plain, key, cipher } of xxtea) {
    t.equal(xxteaEncrypt(bytes(plain), bytes(key)).toString('hex'), cipher)
    t.equal(Buffer.from(xxteaDecrypt(bytes(cipher), bytes(key)) ?? []).toString('hex'), plain)
  }
})

void t.test('every golden fl block decodes, and encodes to the same id', { skip: NO_GOLDEN }, async (t) => {
  let count = 0
  for (const archive of ['hand.fl', 'debian.fl']) {
    const db = new DatabaseSync(join(goldenDir()!, 'fl', archive), { readOnly: true })
    for (const row of db.prepare('SELECT DISTINCT id, key FROM block').all()) {
      const id = Buffer.from(row['id'] as Uint8Array)
      const hex = id.toString('hex')
      const stored = readFileSync(join(goldenDir()!, 'fl/store', hex.slice(0, 2), hex))
      const plain = plainOf('fl', id, Buffer.from(row['key'] as Uint8Array), stored)
      const made = encodeBlock('fl', plain)
      if (!made.id.equals(id) || !made.stored.equals(stored))
        t.fail(`block ${hex} encodes to ${made.id.toString('hex')}`)
      count += 1
    }
    db.close()
  }
  t.ok(count > 4000, `${count} blocks`)
})

/** The expected length is the file's business: here it is what the block turns out to have. */
function plainOf(format: BlockFormat, id: Buffer, key: Buffer, stored: Buffer): Buffer {
  try {
    return decodeBlock({ format, id, key, plainBytes: LIMITS.blockBytesMax }, stored)
  } catch (error) {
    if (!(error instanceof FlistError) || error.code !== 'FLIST_FILE_TRUNCATED') throw error
    const plainBytes = Number(/holds (\d+) bytes/.exec(error.message)?.[1])
    return decodeBlock({ format, id, key, plainBytes }, stored)
  }
}

void t.test('every golden v1 block decodes', { skip: NO_GOLDEN }, async (t) => {
  const dumps = join(goldenDir()!, 'v1/dump')
  const keys = new Map<string, string>()
  for (const name of readdirSync(dumps)) {
    const text = readFileSync(join(dumps, name), 'utf8')
    for (const [, hash, key] of text.matchAll(/"hash": "([0-9a-f]{32})",\s*"key": "([0-9a-f]{32})"/g))
      keys.set(hash!, key!)
  }
  let count = 0
  for (const name of readdirSync(join(goldenDir()!, 'v1/blocks'))) {
    const key = keys.get(name)
    if (key === undefined) continue
    const plain = plainOf('v1', bytes(name), bytes(key), readFileSync(join(goldenDir()!, 'v1/blocks', name)))
    const made = encodeBlock('v1', plain)
    if (!plainOf('v1', made.id, made.key, made.stored).equals(plain)) t.fail(name)
    count += 1
  }
  t.ok(count > 1000, `${count} blocks`)
})

void t.test('decodeBlock() names what is wrong', async (t) => {
  for (const format of ['fl', 'v1'] as const) {
    const { ref, stored, plain } = await makeBlock(5000, format)
    t.ok(decodeBlock(ref, stored).equals(plain))
    const changed = Buffer.from(stored)
    changed[100]! ^= 1
    for (const bad of [
      changed,
      Buffer.alloc(0),
      stored.subarray(0, 8),
      stored.subarray(0, 7),
      Buffer.alloc(LIMITS.storedBlockBytesMax + 4),
    ]) {
      t.throws(() => decodeBlock(ref, bad), { code: 'FLIST_BLOCK_CORRUPT' }, `${format} ${bad.length}`)
    }
    t.throws(() => decodeBlock({ ...ref, plainBytes: 5001 }, stored), { code: 'FLIST_FILE_TRUNCATED' })
    t.throws(() => decodeBlock({ ...ref, plainBytes: 4999 }, stored), { code: 'FLIST_FILE_TRUNCATED' })
    t.throws(() => decodeBlock({ ...ref, key: Buffer.alloc(3) }, stored), RangeError)
    t.throws(() => encodeBlock(format, Buffer.alloc(0)), RangeError)
    t.throws(() => encodeBlock(format, Buffer.alloc(LIMITS.blockBytesMax + 1)), RangeError)
  }
  const other = await makeBlock(5000)
  const mine = await makeBlock(5000)
  t.throws(() => decodeBlock(mine.ref, other.stored), { code: 'FLIST_BLOCK_CORRUPT' })
})

// Sealed with a right tag by somebody who knows the key, but not what the key says.
void t.test('decodeBlock() survives hostile streams under a right seal', async (t) => {
  const { createCipheriv } = await import('node:crypto')
  const streams = [
    'ffffffff0f00',
    'ffffffffff01',
    '80',
    '',
    '8080800100',
    '0500',
    '05f0ff',
    '0a0441010a',
    '0404414202ffff',
  ]
  for (const stream of streams) {
    const key = Buffer.alloc(32, 7)
    const cipher = createCipheriv('aes-256-gcm', key, key.subarray(0, 12))
    const stored = Buffer.concat([cipher.update(bytes(stream)), cipher.final(), cipher.getAuthTag()])
    const fl = { format: 'fl', id: Buffer.alloc(32), key, plainBytes: 5 } as const
    t.throws(() => decodeBlock(fl, stored), { code: 'FLIST_BLOCK_CORRUPT' }, `fl "${stream}"`)
    const v1Key = Buffer.alloc(16, 7)
    const v1Stored = xxteaEncrypt(bytes(stream), v1Key)
    const id = Buffer.from(codecTools().blake2b128(v1Stored))
    t.throws(
      () => decodeBlock({ format: 'v1', id, key: v1Key, plainBytes: 5 }, v1Stored),
      { code: 'FLIST_BLOCK_CORRUPT' },
      `v1 "${stream}"`,
    )
  }
})

void t.test('declaredBytes() reads 32 bits and no more', async (t) => {
  t.equal(declaredBytes(bytes('80808002')), 2 << 21)
  t.equal(declaredBytes(bytes('ffffffff0f')), 0xffffffff)
  for (const bad of ['', '80', 'ffffffff1f', 'ffffffffff00']) t.equal(declaredBytes(bytes(bad)), -1, bad)
})

void t.test('what is encoded decodes; what is changed gives coded errors only', async (t) => {
  const formats = fc.constantFrom<BlockFormat>('fl', 'v1')
  fc.assert(
    fc.property(formats, fc.uint8Array({ minLength: 1, maxLength: 3000 }), (format, plain) => {
      const { ref, stored } = blockOf(Buffer.from(plain), format)
      return decodeBlock(ref, stored).equals(plain)
    }),
    { numRuns: RUNS },
  )
  const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(
      formats,
      fc.uint8Array({ minLength: 1, maxLength: 400 }),
      flips,
      fc.integer({ min: -20, max: 20 }),
      fc.boolean(),
      mutate,
    ),
    { numRuns: RUNS },
  )
  t.pass()

  function mutate(
    format: BlockFormat,
    plain: Uint8Array,
    changes: [number, number][],
    grow: number,
    rename: boolean,
  ): boolean {
    const { ref, stored } = blockOf(Buffer.from(plain), format)
    const bad = Buffer.alloc(Math.max(0, stored.length + grow))
    stored.copy(bad)
    if (bad.length > 0) for (const [at, mask] of changes) bad[at % bad.length]! ^= mask
    // A v1 attacker may name the block as it is.
    const id = rename && format === 'v1' ? Buffer.from(codecTools().blake2b128(bad)) : ref.id
    try {
      return decodeBlock({ ...ref, id }, bad).equals(plain)
    } catch (error) {
      return (
        error instanceof FlistError && (error.code === 'FLIST_BLOCK_CORRUPT' || error.code === 'FLIST_FILE_TRUNCATED')
      )
    }
  }
})

void t.test('fl is the same without the OpenSSL of Node', async (t) => {
  for (const size of [1, 4096, LIMITS.blockBytesMax]) {
    const { ref, plain, stored } = await makeBlock(size)
    t.ok(sealSlowly(ref.key, codecTools().compress(plain)).equals(stored), `${size} bytes sealed`)
    t.ok(decodeSlowly(ref, stored).equals(plain), `${size} bytes decoded`)
    const changed = Buffer.from(stored)
    changed[0]! ^= 1
    t.throws(() => decodeSlowly(ref, changed), { code: 'FLIST_BLOCK_CORRUPT' })
    t.throws(() => decodeBlock(ref, changed), { code: 'FLIST_BLOCK_CORRUPT' })
  }
})
