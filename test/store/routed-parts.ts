import t, { type Test } from 'tap'
import { DecodePool } from '../../lib/store/decode-pool.ts'
import type { BlockSource } from '../../lib/store/port.ts'
import { RoutedReader, type RoutedOptions } from '../../lib/store/routed.ts'
import { storeError } from '../../lib/store/store-errors.ts'
import { CountingSource, makeBlock } from './blocks.ts'

export const pool = new DecodePool({ workers: 1 })
t.teardown(() => pool.close())
export const block = await makeBlock(4000)

export function reader(t: Test, sources: readonly BlockSource[], options: Partial<RoutedOptions> = {}): RoutedReader {
  const all = sources.map((source) => ({ start: 0, end: 255, source }))
  const routed = new RoutedReader(all, { pool, timeoutMs: 60_000, ...options })
  t.teardown(() => routed[Symbol.asyncDispose]())
  return routed
}

export function failing(
  name: string,
  code: 'FLIST_STORE_UNREACHABLE' | 'FLIST_STORE_DENIED' | 'FLIST_TIMEOUT' | 'FLIST_STORE_PROTOCOL',
): CountingSource {
  const source = new CountingSource(name)
  source.behave = () => Promise.reject(storeError(code, name, 'a test says so', 'Do nothing'))
  return source
}
