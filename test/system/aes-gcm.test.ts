import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import t from 'tap'
import { aesGcm, GCM } from '../../lib/system/index.ts'

const found = aesGcm()
const skip = found === undefined ? 'this Node gives its OpenSSL to nobody' : false
const gcm = found!

function sealed(key: Buffer, plain: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, key.subarray(0, GCM.nonce))
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** The same bytes, within other memory. */
function within(memory: ArrayBuffer | SharedArrayBuffer, at: number, bytes: Buffer): Buffer {
  const view = Buffer.from(memory, at, bytes.length)
  view.set(bytes)
  return view
}

void t.test('the Node.js of this project gives its OpenSSL', async (t) => {
  t.ok(found !== undefined || process.config.variables.node_shared_openssl)
  t.equal(aesGcm(), found, 'looked for once')
})

void t.test('seal() and open() do as node:crypto does', { skip }, async (t) => {
  for (const bytes of [0, 1, 15, 16, 17, 4096, 100_001, 524_288]) {
    const key = randomBytes(GCM.key)
    const plain = randomBytes(bytes)
    const expected = sealed(key, plain)
    const into = Buffer.alloc(bytes + GCM.tag + 5)
    t.equal(gcm.seal(key, plain, into), bytes + GCM.tag)
    t.ok(into.subarray(0, bytes + GCM.tag).equals(expected), `${bytes} bytes sealed`)
    t.ok(into.subarray(bytes + GCM.tag).equals(Buffer.alloc(5)), 'nothing behind it')
    const back = Buffer.alloc(bytes + 5)
    t.equal(gcm.open(key, expected, back), bytes)
    t.ok(back.subarray(0, bytes).equals(plain), 'opened')
    t.ok(back.subarray(bytes).equals(Buffer.alloc(5)), 'nothing behind it')
    const decipher = createDecipheriv('aes-256-gcm', key, key.subarray(0, GCM.nonce))
    decipher.setAuthTag(into.subarray(bytes, bytes + GCM.tag))
    t.ok(Buffer.concat([decipher.update(into.subarray(0, bytes)), decipher.final()]).equals(plain))
  }
})

void t.test('open() takes bytes of any memory', { skip }, async (t) => {
  const plain = randomBytes(5000)
  const [key] = [randomBytes(GCM.key)]
  const stored = sealed(key, plain)
  for (const make of [(bytes: number) => new ArrayBuffer(bytes), (bytes: number) => new SharedArrayBuffer(bytes)]) {
    const back = within(make(6000), 7, Buffer.alloc(5500))
    t.equal(gcm.open(within(make(100), 3, key), within(make(6000), 13, stored), back), plain.length)
    t.ok(back.subarray(0, plain.length).equals(plain))
  }
})

void t.test('open() refuses what was changed, and goes on', { skip }, async (t) => {
  const key = randomBytes(GCM.key)
  const plain = randomBytes(300)
  const stored = sealed(key, plain)
  const back = Buffer.alloc(400)
  for (const at of [0, 150, 299, 300, 315]) {
    const changed = Buffer.from(stored)
    changed[at]! ^= 4
    t.equal(gcm.open(key, changed, back), -1, `byte ${at}`)
  }
  t.equal(gcm.open(randomBytes(GCM.key), stored, back), -1, 'another key')
  t.equal(gcm.open(key, stored.subarray(0, -1), back), -1, 'one byte less')
  t.equal(gcm.open(key, stored, back), 300)
})

void t.test('open() and seal() throw where lengths are wrong', { skip }, async (t) => {
  const key = randomBytes(GCM.key)
  t.throws(() => gcm.open(key.subarray(1), Buffer.alloc(30), Buffer.alloc(30)), RangeError)
  t.throws(() => gcm.open(key, Buffer.alloc(15), Buffer.alloc(30)), RangeError)
  t.throws(() => gcm.open(key, Buffer.alloc(30), Buffer.alloc(13)), RangeError)
  t.throws(() => gcm.seal(key.subarray(1), Buffer.alloc(1), Buffer.alloc(30)), RangeError)
  t.throws(() => gcm.seal(key, Buffer.alloc(10), Buffer.alloc(25)), RangeError)
})
