import { hashArchive, type Route, TreeBuilder, writeArchive } from '../flist/index.ts'
import { type BlockFormat, hashBytesOf, type OpenSinks, openSinks, publicUrl, type StoreRoute } from '../store/index.ts'
import { checkTarget } from '../system/index.ts'
import { type BlockTotals, BlockWriter } from './block-writer.ts'
import type { SigningKey } from './sign/private-key.ts'
import { signTree } from './sign/sign-tree.ts'
import { unwritable } from './unwritable.ts'

export interface MakerOptions {
  /** Where the archive goes. */
  readonly archive: string
  /** A file that it is made of, whose place it must not take. */
  readonly madeOf?: string | undefined
  readonly format: BlockFormat
  /** Where blocks go, and what the archive says of it. */
  readonly stores: readonly StoreRoute[]
  /** Where `dir:folder` begins. */
  readonly baseDir: string
  /** Write user names, passwords and tokens of stores into the archive. */
  readonly keepSecrets?: boolean | undefined
  readonly tags?: ReadonlyMap<string, string> | undefined
  /** v1: write no names of users and groups, which are those of this machine. */
  readonly numericOwner?: boolean | undefined
  /** Keys that sign the archive. */
  readonly sign?: readonly SigningKey[] | undefined
  /** Wait until blocks in folders are on the disk before the archive has its name; where nothing is said too. */
  readonly sync?: boolean | undefined
  /** Threads that make blocks; one a core by default. */
  readonly threads?: number | undefined
  /** Plain bytes that became blocks, so far. */
  readonly onBytes?: ((bytes: number) => void) | undefined
}

/** An archive that was made. */
export interface MadeArchive extends BlockTotals {
  readonly archive: string
  readonly format: BlockFormat
  /** SHA-256 of the archive. */
  readonly digest: string
  /** Names in it. */
  readonly entries: number
  /** Plain bytes that blocks were made of. */
  readonly bytes: number
}

/**
 * What every verb that makes archives needs: a tree to fill (the root first, the rest in any order), and a writer that makes
 * blocks of content. `finish` waits for the blocks to be in all stores, then publishes the archive; without it nothing has the
 * archive's name. The order of `tree.add` does not matter to the archive's bytes.
 */
export class ArchiveMaker {
  readonly tree: TreeBuilder
  readonly writer: BlockWriter
  readonly #options: MakerOptions
  readonly #sinks: OpenSinks
  #bytes = 0

  private constructor(options: MakerOptions, sinks: OpenSinks, signal: AbortSignal) {
    const { format, threads, stores, baseDir, keepSecrets = false, tags } = options
    this.#options = options
    this.#sinks = sinks
    this.tree = new TreeBuilder({ format, hashBytes: hashBytesOf(format) })
    this.tree.routes = stores.map(({ start, end, url }) => ({
      start,
      end,
      url: keepSecrets ? url : publicUrl(url, baseDir),
    }))
    for (const [key, value] of tags ?? []) this.tree.tags.set(key, value)
    const onBytes = (bytes: number): void => {
      this.#bytes += bytes
      options.onBytes?.(this.#bytes)
    }
    this.writer = new BlockWriter({ format, sinks, threads, signal, onBytes })
  }

  /**
   * Throws FLIST_USAGE and FLIST_BLOCK_NOT_ROUTED for stores that cannot be used so, FLIST_STORE_* for a folder; FLIST_USAGE and
   * FLIST_SYSTEM where the archive cannot be written.
   */
  static async open(options: MakerOptions, signal: AbortSignal): Promise<ArchiveMaker> {
    try {
      // Better than when all blocks are stored.
      checkTarget(options.archive, options.madeOf)
    } catch (error) {
      throw unwritable(options.archive, error)
    }
    return new ArchiveMaker(options, await openSinks(options.stores, options.baseDir), signal)
  }

  /** Gives an entry its blocks: id and key of each, as `writer.refsOf` and `FileOutcome.refs` have them. */
  addBlocks(entry: number, refs: Buffer): void {
    const half = this.tree.hashBytes
    for (let at = 0; at < refs.length; at += 2 * half) {
      this.tree.addBlock(entry, refs.subarray(at, at + half), refs.subarray(at + half, at + 2 * half))
    }
  }

  /** Whether blocks of an archive with these routes are for certain in the stores of this one. */
  sharesStores(routes: readonly Route[]): boolean {
    const { stores, baseDir } = this.#options
    const isTheirs = (start: number, end: number, url: string): boolean =>
      routes.some((route) => route.start <= start && route.end >= end && route.url === url)
    return stores.every(
      ({ start, end, url }) => isTheirs(start, end, publicUrl(url, baseDir)) || isTheirs(start, end, url),
    )
  }

  /** Whether the stores of this one have all these blocks. */
  async hasBlocks(refs: Buffer, signal: AbortSignal): Promise<boolean> {
    const half = this.tree.hashBytes
    for (let at = 0; at < refs.length; at += 2 * half) {
      if (!(await this.#sinks.has(refs.subarray(at, at + half), signal))) return false
    }
    return true
  }

  /** Throws FLIST_STORE_*, FLIST_LIMIT, FLIST_SYSTEM, FLIST_INTERRUPTED. */
  async finish(signal: AbortSignal): Promise<MadeArchive> {
    const { archive, format, sign = [], numericOwner = false } = this.#options
    await this.writer.drain()
    if (this.#options.sync ?? true) await this.writer.sync()
    signal.throwIfAborted()
    try {
      await signTree(this.tree, sign, { signal, numericOwner })
      await writeArchive(this.tree, archive, { signal, numericOwner })
    } catch (error) {
      throw unwritable(archive, error)
    }
    const digest = await hashArchive(archive, signal)
    const entries = this.tree.entryCount
    return { archive, format, digest, entries, bytes: this.#bytes, ...this.writer.totals }
  }

  /** Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.writer.close()
    await this.#sinks[Symbol.asyncDispose]()
  }
}
