import { createHash, randomBytes } from 'node:crypto'
import { blake2b } from 'hash-wasm'
import { Log } from '../../../lib/base/index.ts'
import type { BlockReader, BlockRef } from '../../../lib/store/port.ts'
import { BlockCache } from '../../../lib/store/cache/block-cache.ts'
import type { BlockCacheOptions } from '../../../lib/store/cache/block-cache.ts'

export const MiB = 1024 * 1024
/** Writes nowhere: the descriptor is closed. */
export const QUIET = new Log(-1, 'error')

export function openCache(dir: string, options: Partial<BlockCacheOptions> = {}): Promise<BlockCache> {
  return BlockCache.open(dir, { bytesMax: 1024 * MiB, freeBytesMin: 0, log: QUIET, ...options })
}

export interface TestBlock {
  readonly ref: BlockRef
  readonly plain: Buffer
}

/** The same block for the same seed, in every process; its key is the true hash of its bytes. */
export async function block(seed: string, bytes = 4096): Promise<TestBlock> {
  const unit = createHash('sha512').update(seed).digest()
  const plain = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += unit.length) unit.copy(plain, at)
  plain.writeUInt8((seed.length * 31) & 0xff, bytes - 1)
  const key = Buffer.from(await blake2b(plain, 256), 'hex')
  return { ref: { format: 'fl', id: createHash('sha256').update(seed).digest(), key, plainBytes: bytes }, plain }
}

export function blocks(prefix: string, count: number, bytes = 4096): Promise<TestBlock[]> {
  return Promise.all(Array.from({ length: count }, (_, n) => block(`${prefix}-${n}`, bytes)))
}

export interface CountingReader extends BlockReader {
  /** Ids in hex, in the order in which they were fetched. */
  readonly fetched: string[]
  readonly aborted: string[]
}

/** Serves `known` after `delayMs`; what it does not know, and what `fail` names, fails with `fail`'s error. */
export function countingReader(
  known: readonly TestBlock[],
  delayMs = 0,
  fail?: (ref: BlockRef) => Error | undefined,
): CountingReader {
  const byId = new Map(known.map((one) => [one.ref.id.toString('hex'), one.plain]))
  const fetched: string[] = []
  const aborted: string[] = []
  return {
    fetched,
    aborted,
    async read(ref, signal) {
      const id = ref.id.toString('hex')
      fetched.push(id)
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(resolve, delayMs)
        signal.addEventListener('abort', () => {
          clearTimeout(timer)
          aborted.push(id)
          reject(new Error('aborted'))
        })
      })
      const error = fail?.(ref)
      if (error !== undefined) throw error
      const plain = byId.get(id)
      if (plain === undefined) throw new Error(`unknown block ${id}`)
      return plain
    },
    async [Symbol.asyncDispose]() {},
  }
}

export const NEVER = new AbortController().signal

export function randomKey(): Buffer {
  return randomBytes(32)
}
