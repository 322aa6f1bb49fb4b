import { LIMITS } from '../base/index.ts'

// Corrected block TEA as in flist-v1.md section 6: little-endian words, the packed length in one extra word at the end,
// the key's 16 bytes used as they are. Words are signed 32-bit here, which JavaScript's bit operators want.
const DELTA = 0x9e3779b9
const ROUNDS_BASE = 6
const ROUNDS_SHARE = 52

/** Work space of one thread: nothing runs between filling it and taking the result out. */
let scratch = new Int32Array(0)

function words(count: number): Int32Array {
  if (scratch.length < count) scratch = new Int32Array(Math.max(count, LIMITS.storedBlockBytesMax / 4))
  return scratch
}

/**
 * The bytes that were encrypted, or undefined where `stored` or `key` is wrong. The result is a view that the next call
 * of this thread overwrites.
 */
export function xxteaDecrypt(stored: Uint8Array, key: Uint8Array): Uint8Array | undefined {
  const count = stored.length / 4
  if (count < 2 || !Number.isInteger(count) || stored.length > LIMITS.storedBlockBytesMax) return undefined
  const v = words(count)
  const bytes = new Uint8Array(v.buffer, 0, stored.length)
  bytes.set(stored)
  decryptWords(v, count, keyWords(key))
  const length = (v[count - 1] ?? 0) >>> 0
  const room = 4 * (count - 1)
  return length >= room - 3 && length <= room ? bytes.subarray(0, length) : undefined
}

export function xxteaEncrypt(plain: Uint8Array, key: Uint8Array): Buffer {
  const count = Math.ceil(plain.length / 4) + 1
  const v = words(Math.max(count, 2))
  const bytes = new Uint8Array(v.buffer, 0, 4 * count)
  bytes.set(plain)
  bytes.fill(0, plain.length)
  v[count - 1] = plain.length
  encryptWords(v, count, keyWords(key))
  return Buffer.from(bytes)
}

function keyWords(key: Uint8Array): Int32Array {
  const k = new Int32Array(4)
  new Uint8Array(k.buffer).set(key)
  return k
}

function decryptWords(v: Int32Array, n: number, k: Int32Array): void {
  const rounds = ROUNDS_BASE + Math.floor(ROUNDS_SHARE / n)
  let sum = Math.imul(rounds, DELTA)
  let y = v[0]!
  for (let round = 0; round < rounds; round += 1) {
    const e = (sum >>> 2) & 3
    for (let p = n - 1; p > 0; p -= 1) {
      const z = v[p - 1]!
      y = (v[p]! - ((((z >>> 5) ^ (y << 2)) + ((y >>> 3) ^ (z << 4))) ^ ((sum ^ y) + (k[(p & 3) ^ e]! ^ z)))) | 0
      v[p] = y
    }
    const z = v[n - 1]!
    y = (v[0]! - ((((z >>> 5) ^ (y << 2)) + ((y >>> 3) ^ (z << 4))) ^ ((sum ^ y) + (k[e]! ^ z)))) | 0
    v[0] = y
    sum = (sum - DELTA) | 0
  }
}

function encryptWords(v: Int32Array, n: number, k: Int32Array): void {
  const rounds = ROUNDS_BASE + Math.floor(ROUNDS_SHARE / n)
  const last = n - 1
  let sum = 0
  let z = v[last]!
  for (let round = 0; round < rounds; round += 1) {
    sum = (sum + DELTA) | 0
    const e = (sum >>> 2) & 3
    for (let p = 0; p < last; p += 1) {
      const y = v[p + 1]!
      z = (v[p]! + ((((z >>> 5) ^ (y << 2)) + ((y >>> 3) ^ (z << 4))) ^ ((sum ^ y) + (k[(p & 3) ^ e]! ^ z)))) | 0
      v[p] = z
    }
    const y = v[0]!
    z = (v[last]! + ((((z >>> 5) ^ (y << 2)) + ((y >>> 3) ^ (z << 4))) ^ ((sum ^ y) + (k[(last & 3) ^ e]! ^ z)))) | 0
    v[last] = z
  }
}
