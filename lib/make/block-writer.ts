import { constants } from 'node:fs'
import { FlistError, invariant, LIMITS } from '../base/index.ts'
import {
  type BlockFormat,
  BlockPool,
  type BlockResults,
  hashBytesOf,
  type OpenSinks,
  RESULT,
  RESULT_FLAG,
  resultBytes,
  STATE,
} from '../store/index.ts'
import { closeFd, FileStat, OPEN_FILE, openAt } from '../system/index.ts'
import { BlockSender } from './block-sender.ts'
import type { FileOutcome, FileTask } from './file-task.ts'
import { isHole } from './holes.ts'
import { IdSet } from './id-set.ts'
import { ByteBatch, FileBatch, type PieceOwner, type Pieces } from './piece-batch.ts'
import { readBlock } from './read-block.ts'

/** Times a file that changes is read before it is taken as it comes. */
const TRIES_MAX = 3
/** Stored bytes on their way to stores elsewhere. */
const SENDING_BYTES_MAX = 64 * 1024 * 1024

export interface BlockWriterOptions {
  readonly format: BlockFormat
  /** Closed by its owner, after this. */
  readonly sinks: OpenSinks
  /** One a core by default. */
  readonly threads?: number | undefined
  readonly signal: AbortSignal
  /** Plain bytes that became blocks. */
  readonly onBytes?: ((bytes: number) => void) | undefined
}

/** What was made of all content. */
export interface BlockTotals {
  /** Different blocks. */
  blocks: number
  /** Those that some store did not have. */
  newBlocks: number
  /** Stored bytes of these. */
  newBytes: number
}

/**
 * Makes blocks of files and of byte streams, and has them stored: on all cores, reading ahead, with a bounded number of bytes
 * in memory. After anything has failed every call throws that.
 */
export class BlockWriter {
  readonly #options: BlockWriterOptions
  /** Threads begin with the first block: where nothing changed there is none. */
  #threads: BlockPool | undefined
  readonly #hashBytes: number
  readonly #seen = new IdSet()
  readonly #sender: BlockSender
  readonly #contents: Buffer[] = []
  readonly #zeros = new Map<number, Promise<Buffer>>()
  readonly #spare: SharedArrayBuffer[] = []
  readonly #stat = new FileStat()
  #files = new FileBatch()
  #bytes = new ByteBatch()
  /** Batches and files that are not done. */
  #busy = 0
  #waiting: (() => void)[] = []
  #failure: unknown
  readonly totals: BlockTotals = { blocks: 0, newBlocks: 0, newBytes: 0 }

  constructor(options: BlockWriterOptions) {
    this.#options = options
    this.#hashBytes = hashBytesOf(options.format)
    this.#sender = new BlockSender(options.sinks, options.signal)
  }

  get #pool(): BlockPool {
    const { format, sinks, threads } = this.#options
    this.#threads ??= new BlockPool({ format, folders: sinks.folders, wanted: sinks.wanted }, threads)
    return this.#threads
  }

  /** Takes a file on; ends when there is room for another. Its folder is kept open until `done` is called. */
  async addFile(task: FileTask): Promise<void> {
    task.folder.use()
    await this.#readFile(task, 1)
  }

  /**
   * Takes the bytes of a stream, which must be as many as said; ends when all are taken. The number is for `refsOf`, after
   * `drain`. The chunks are not kept.
   */
  async addContent(bytes: number, stream: AsyncIterable<Uint8Array>): Promise<number> {
    const content = this.#contents.length
    const pieces = this.#piecesOf(bytes, () => undefined)
    this.#contents.push(pieces.refs)
    const block = Buffer.allocUnsafeSlow(Math.min(bytes, LIMITS.blockBytesMax))
    let filled = 0
    let index = 0
    let left = bytes
    for await (const chunk of stream) {
      if (chunk.length > left) throw new RangeError('A stream has more bytes than was said')
      left -= chunk.length
      for (let at = 0; at < chunk.length;) {
        const take = Math.min(chunk.length - at, block.length - filled)
        block.set(chunk.subarray(at, at + take), filled)
        at += take
        filled += take
        if (filled < block.length && !(left === 0 && at === chunk.length)) continue
        await this.#addBytes(pieces, index, block.subarray(0, filled))
        index += 1
        filled = 0
      }
    }
    if (left > 0) throw new RangeError('A stream has fewer bytes than was said')
    return content
  }

  /** Id and key of each block of a content, once `drain` has ended. */
  refsOf(content: number): Buffer {
    const refs = this.#contents[content]
    invariant(refs !== undefined, 'the content was added')
    return refs
  }

  /** Ends when every block is stored, and every file's `done` was called. */
  async drain(): Promise<void> {
    await this.#flushFiles()
    await this.#flushBytes()
    while (this.#busy > 0 && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
      if (this.#files.owners.length > 0) await this.#flushFiles()
      if (this.#bytes.owners.length > 0) await this.#flushBytes()
    }
    this.#check()
  }

  /** What is in folders is on the disk: before an archive names it. */
  async sync(): Promise<void> {
    if (this.totals.newBlocks > 0 && this.#options.sinks.folders.length > 0) await this.#pool.sync()
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#failure ??= new RangeError('The writer of blocks is closed')
    await this.#threads?.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #readFile(task: FileTask, attempt: number): Promise<void> {
    this.#busy += 1
    const pieces = this.#piecesOf(task.size, () => this.#finishFile(task, pieces, attempt))
    const { blockBytesMax } = LIMITS
    const count = pieces.left
    // What no thread opens may have attributes.
    pieces.hasXattrs = count === 0 || task.holes.length > 0
    if (count === 0) return pieces.finish()
    for (let index = 0; index < count; index += 1) {
      const bytes = Math.min(blockBytesMax, task.size - index * blockBytesMax)
      if (isHole(task, index)) {
        const refs = await this.#zeroBlock(bytes)
        refs.copy(pieces.refs, index * refs.length)
        this.#pieceDone({ pieces, index, bytes })
        continue
      }
      this.#files.add(task, pieces, index, bytes)
      if (this.#files.isFull) await this.#flushFiles()
    }
  }

  #finishFile(task: FileTask, pieces: Pieces, attempt: number): void {
    if (pieces.errno === 0 && pieces.changed) {
      const again = attempt < TRIES_MAX ? this.#readAgain(task, attempt) : this.#readAsItComes(task)
      again.catch((error: unknown) => this.#fail(error)).finally(() => this.#idle())
      return
    }
    if (pieces.errno !== 0) this.#leave(task, pieces.errno)
    else this.#stored(task, { refs: pieces.refs, bytes: task.size, changed: false, hasXattrs: pieces.hasXattrs })
    this.#idle()
  }

  #leave(task: FileTask, number: number): void {
    task.done({ state: 'failed', errno: number })
    task.folder.release()
  }

  #stored(task: FileTask, what: Omit<Extract<FileOutcome, { state: 'stored' }>, 'state'>): void {
    task.done({ state: 'stored', ...what })
    task.folder.release()
  }

  async #readAgain(task: FileTask, attempt: number): Promise<void> {
    const failed = this.#stat.at(task.folder.fd, task.name, task.follow)
    if (failed !== 0) return this.#leave(task, -failed)
    if ((this.#stat.mode & constants.S_IFMT) !== constants.S_IFREG) return this.#leave(task, NO_LONGER_A_FILE)
    task.size = this.#stat.size
    task.holes = []
    this.#stat.stamp(task.stamp, 0)
    await this.#readFile(task, attempt + 1)
  }

  /** Reads a file that never stands still from its beginning to the end it has then, or had before. */
  async #readAsItComes(task: FileTask): Promise<void> {
    const fd = openAt(task.folder.fd, task.name, task.follow ? OPEN_FILE & ~constants.O_NOFOLLOW : OPEN_FILE)
    if (fd < 0) return this.#leave(task, -fd)
    try {
      const most = Math.ceil(task.size / LIMITS.blockBytesMax)
      const refs: Buffer[] = []
      let bytes = 0
      for (let index = 0; index < most; index += 1) {
        const block = readBlock(fd, bytes, Math.min(LIMITS.blockBytesMax, task.size - bytes))
        if (typeof block === 'number') return this.#leave(task, block)
        if (block.length === 0) break
        refs.push(await this.#blockOf(block))
        bytes += block.length
        if (block.length < LIMITS.blockBytesMax) break
      }
      this.#stored(task, { refs: Buffer.concat(refs), bytes, changed: true, hasXattrs: true })
    } finally {
      closeFd(fd)
    }
  }

  /** Id and key of one block of zeros. */
  #zeroBlock(bytes: number): Promise<Buffer> {
    let known = this.#zeros.get(bytes)
    if (known === undefined) {
      known = this.#blockOf(Buffer.alloc(bytes))
      // Tails differ from file to file.
      if (bytes === LIMITS.blockBytesMax) this.#zeros.set(bytes, known)
    }
    return known
  }

  async #blockOf(block: Buffer): Promise<Buffer> {
    const { promise, resolve } = Promise.withResolvers<Buffer>()
    const pieces = this.#piecesOf(block.length, () => resolve(pieces.refs))
    const batch = new ByteBatch(this.#spare.pop())
    batch.add(pieces, 0, block)
    await this.#sendBytes(batch)
    return promise
  }

  async #addBytes(pieces: Pieces, index: number, block: Buffer): Promise<void> {
    while (this.#bytes.room < block.length) await this.#flushBytes()
    this.#bytes.add(pieces, index, block)
  }

  async #flushFiles(): Promise<void> {
    const batch = this.#files
    if (batch.owners.length === 0) return this.#check()
    this.#files = new FileBatch()
    await this.#room()
    const { records } = batch
    const work = { kind: 'files', count: batch.owners.length, records } as const
    this.#follow(this.#pool.run(work, [records.buffer]), batch.owners)
  }

  async #flushBytes(): Promise<void> {
    const batch = this.#bytes
    if (batch.owners.length === 0) return this.#check()
    this.#bytes = new ByteBatch(this.#spare.pop())
    await this.#sendBytes(batch)
  }

  async #sendBytes(batch: ByteBatch): Promise<void> {
    await this.#room()
    const results = this.#pool.run({ kind: 'bytes', pieces: batch.spans, bytes: batch.shared })
    this.#follow(results, batch.owners, () => this.#spare.push(batch.shared))
  }

  /** Ends when more may be begun. */
  async #room(): Promise<void> {
    this.#check()
    await this.#pool.room()
    while (this.#sender.bytes > SENDING_BYTES_MAX && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    this.#check()
  }

  #follow(results: Promise<BlockResults>, owners: readonly PieceOwner[], free?: () => void): void {
    this.#busy += 1
    results
      .then((reply) => {
        free?.()
        return this.#take(reply, owners)
      })
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#idle())
  }

  async #take({ results, stored }: BlockResults, owners: readonly PieceOwner[]): Promise<void> {
    const bytes = Buffer.from(results.buffer, results.byteOffset, results.length)
    const sent: Promise<void>[] = []
    let returned = 0
    for (const [number, owner] of owners.entries()) {
      const at = number * resultBytes(this.#options.format)
      const state = bytes[at + RESULT.state]
      const { pieces } = owner
      if (state === STATE.changed) pieces.changed = true
      if (state === STATE.failed) pieces.errno = bytes.readUInt32LE(at + RESULT.errno)
      if (state !== STATE.done) {
        this.#pieceDone(owner)
        continue
      }
      const refs = bytes.subarray(at + RESULT.size, at + resultBytes(this.#options.format))
      refs.copy(pieces.refs, owner.index * refs.length)
      const flags = bytes[at + RESULT.flags] ?? 0
      if ((flags & RESULT_FLAG.xattrs) !== 0) pieces.hasXattrs = true
      const id = refs.subarray(0, this.#hashBytes)
      const storedBytes = bytes.readUInt32LE(at + RESULT.storedBytes)
      const isFirst = this.#seen.add(id)
      if (isFirst) this.totals.blocks += 1
      if ((flags & RESULT_FLAG.fresh) !== 0) this.#countFresh(id, storedBytes)
      const away = (flags & RESULT_FLAG.returned) === 0 ? undefined : stored[returned++]
      if (away === undefined) this.#pieceDone(owner)
      else sent.push(this.#send(Buffer.from(id), away, isFirst).then(() => this.#pieceDone(owner)))
    }
    if (sent.length > 0) await Promise.all(sent)
  }

  async #send(id: Buffer, stored: Uint8Array, isFirst: boolean): Promise<void> {
    const isFresh = await this.#sender.send(id, stored, isFirst).finally(() => this.#wake())
    if (isFresh) this.#countFresh(id, stored.length)
  }

  #countFresh(id: Buffer, bytes: number): void {
    if (!this.#seen.mark(id)) return
    this.totals.newBlocks += 1
    this.totals.newBytes += bytes
  }

  #pieceDone({ pieces, bytes }: PieceOwner): void {
    if (pieces.errno === 0 && !pieces.changed) this.#options.onBytes?.(bytes)
    pieces.left -= 1
    if (pieces.left === 0) pieces.finish()
  }

  #piecesOf(bytes: number, finish: () => void): Pieces {
    const left = Math.ceil(bytes / LIMITS.blockBytesMax)
    if (left > LIMITS.blocksMax) {
      throw new FlistError(
        'FLIST_LIMIT',
        `Cannot pack a file of ${bytes} bytes: it has more than ${LIMITS.blocksMax} blocks`,
      )
    }
    return {
      refs: Buffer.allocUnsafe(left * 2 * this.#hashBytes),
      left,
      changed: false,
      hasXattrs: false,
      errno: 0,
      finish,
    }
  }

  #idle(): void {
    this.#busy -= 1
    this.#wake()
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    this.#wake()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure
    this.#options.signal.throwIfAborted()
  }
}

/** No errno: the name is another thing's now. */
export const NO_LONGER_A_FILE = -1
