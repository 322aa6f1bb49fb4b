import { LIMITS } from '../base/index.ts'
import { withDeadline } from './deadline.ts'
import { openSink, openSource } from './open.ts'
import type { BlockSource } from './port.ts'
import { retrying } from './retrying.ts'
import type { BlockSink } from './sink.ts'
import { DirSink } from './sink-dir.ts'
import { patient } from './sink-patient.ts'
import { parseStoreUrl, type StoreRoute } from './store-url.ts'

/** One store by itself, to be looked through and mended: no other answers in its place. */
export interface WholeStore extends AsyncDisposable {
  /** For people: the URL without secrets. */
  readonly name: string
  /** First bytes of the ids that belong here, inclusive. */
  readonly start: number
  readonly end: number
  /** Whether the block is there, and by the cheapest question the store understands. Throws FLIST_STORE_*, FLIST_TIMEOUT, FLIST_INTERRUPTED. */
  has(id: Buffer, signal: AbortSignal): Promise<boolean>
  /** True where the block is seen to be there without waiting for anybody; false says nothing, and nothing is thrown. */
  hasNow(id: Buffer): boolean
  /** The stored bytes. Throws as `has`. */
  get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined>
  /** Puts a block in the place of what is there under its id. Throws as `has`, and FLIST_USAGE for a store that cannot be written. */
  replace(id: Buffer, stored: Buffer, signal: AbortSignal): Promise<void>
}

/** `trusted`: the operator wrote the URL, not an archive. Throws FLIST_USAGE, FLIST_STORE_DENIED. Connects at the first question. */
export async function openWholeStore(route: StoreRoute, baseDir: string, trusted: boolean): Promise<WholeStore> {
  const { start, end, url } = route
  const raw = await openSource(url, { baseDir, trusted })
  const source = retrying(withDeadline(raw, LIMITS.tryTimeoutMs))
  const { scheme, name, path } = parseStoreUrl(url, baseDir)
  let sink: Promise<BlockSink> | undefined
  const writer = (): Promise<BlockSink> =>
    (sink ??= openSink(url, baseDir).then((opened) => patient(opened, LIMITS.connectionsPerStore)))
  return {
    name: source.name,
    start,
    end,
    get: (id, signal) => source.get(id, signal),
    has: (id, signal) =>
      raw.has === undefined ? writer().then((opened) => opened.has(id, signal)) : asked(raw, id, signal),
    hasNow: (id) => raw.hasNow?.(id) ?? false,
    async replace(id, stored, signal) {
      if (scheme !== 'dir') return (await writer()).put(id, stored, signal)
      const folder = new DirSink(name, path)
      try {
        folder.store(id, stored, true)
        folder.sync()
      } finally {
        folder.close()
      }
    },
    async [Symbol.asyncDispose]() {
      await source[Symbol.asyncDispose]()
      await (await sink)?.[Symbol.asyncDispose]()
    },
  }
}

/** The question with the patience that a read has. */
async function asked(raw: BlockSource, id: Buffer, signal: AbortSignal): Promise<boolean> {
  const question: BlockSource = {
    name: raw.name,
    get: async (block, own) => ((await raw.has?.(block, own)) === true ? YES : undefined),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
  return (await retrying(withDeadline(question, LIMITS.tryTimeoutMs)).get(id, signal)) !== undefined
}

const YES = Buffer.alloc(0)
