import type { Operations, Signal } from 'fuse-native'
import { describeError, ERRNO, LIMITS, type Log } from '../../base/index.ts'
import { type CachedReads, NOT_CACHED, type Tree } from '../../vfs/index.ts'
import { OPCODE } from '../../wire/index.ts'
import type { MissSink } from '../answers.ts'
import type { Counters } from '../counters.ts'
import type { LateReads } from './late-reads.ts'
import { type Listing, PathAnswers } from './path-answers.ts'

export interface OperationParts {
  readonly tree: Tree
  readonly reads: CachedReads
  readonly late: LateReads
  readonly misses: MissSink
  /** Every read goes to the fetch thread, which checks it: `--verify always`. */
  readonly neverFromCache: boolean
  readonly counters: Counters
  readonly log: Log
}

/** What fuse-native calls, answered from the tree; names, links and cached reads at once. Each answers exactly once, and never throws. */
export class FuseNativeOperations {
  readonly #parts: OperationParts
  readonly #answers: PathAnswers

  constructor(parts: OperationParts) {
    this.#parts = parts
    this.#answers = new PathAnswers(parts.tree)
  }

  /** For the constructor. Without a function, libfuse says ENOSYS, and the kernel asks no more. */
  operations(): Operations {
    const { hasXattrs } = this.#parts.tree.index
    return {
      getattr: (path, done) => this.#getattr(path, done),
      readdir: (path, done) => this.#readdir(path, done),
      readlink: (path, done) => this.#readlink(path, done),
      read: (path, _fd, out, bytes, offset, done) => this.#read(path, out, bytes, offset, done),
      statfs: (_path, done) => this.#statfs(done),
      ...(hasXattrs ? { getxattr: true, listxattr: true } : {}),
    }
  }

  #getattr(path: string, done: Parameters<Operations['getattr']>[1]): void {
    let stat: object | undefined
    const errno = this.#observed(OPCODE.getattr, path, (row) => {
      stat = this.#answers.stat(row)
      return 0
    })
    done(errno, stat)
  }

  #readdir(path: string, done: Parameters<Operations['readdir']>[1]): void {
    let list: Listing | undefined
    const errno = this.#observed(OPCODE.readdir, path, (row) => {
      const listed = this.#answers.list(row)
      if (typeof listed === 'number') return listed
      list = listed
      return 0
    })
    done(errno, list?.names, list?.stats)
  }

  #readlink(path: string, done: Parameters<Operations['readlink']>[1]): void {
    let target: string | undefined
    const errno = this.#observed(OPCODE.readlink, path, (row) => {
      const said = this.#answers.target(row)
      if (typeof said === 'number') return said
      target = said
      return 0
    })
    done(errno, target)
  }

  #statfs(done: Parameters<Operations['statfs']>[1]): void {
    const { blocks, blockBytes, files } = this.#parts.tree.totals()
    // Numbers of 32 bits.
    const most = 0xffff_ffff
    const totals = { blocks: Math.min(blocks, most), files: Math.min(files, most), namemax: LIMITS.nameBytesMax }
    done(0, { ...totals, bsize: blockBytes, frsize: blockBytes })
  }

  #read(path: string, out: Buffer, bytes: number, offset: number, done: (result: number) => void): void {
    let row = -1
    const got = this.#observed(OPCODE.read, path, (found) => {
      row = found
      return this.#readCached(row, out, bytes, offset)
    })
    if (got !== NOT_CACHED) return done(got)
    const { late, misses } = this.#parts
    misses.read(late.begin(out, done), 0, row, offset, bytes)
  }

  #readCached(row: number, out: Buffer, bytes: number, offset: number): number {
    const { reads, misses, counters, neverFromCache } = this.#parts
    if (neverFromCache) return NOT_CACHED
    const got = reads.read(row, offset, bytes, out, 0)
    if (reads.markedBlock >= 0) {
      misses.reached(reads.markedBlock)
      reads.markedBlock = -1
    }
    if (got >= 0) {
      counters.add('bytesRead', got)
      counters.add('readsFromCache', 1)
    }
    return got
  }

  /** In the place of fuse-native's own, which asks for a value without its length and lets libfuse read beyond the buffer. */
  getxattr(signal: Signal, path: string, name: string, out: Buffer): void {
    signal(
      this.#observed(OPCODE.getxattr, path, (row) => {
        const value = this.#parts.tree.xattr(row, Buffer.from(name))
        return value === undefined ? -ERRNO.ENODATA : sized(value, out)
      }),
      out.buffer,
    )
  }

  /** In the place of fuse-native's own, which adds 128 bytes. */
  listxattr(signal: Signal, path: string, out: Buffer): void {
    signal(
      this.#observed(OPCODE.listxattr, path, (row) => sized(this.#parts.tree.xattrNames(row), out)),
      out.buffer,
    )
  }

  /** What `answer` says of the path's row, counted; a negative errno where there is none. */
  #observed(opcode: number, path: string, answer: (row: number) => number): number {
    const { counters, log } = this.#parts
    const started = performance.now()
    try {
      const row = this.#answers.find(path)
      const result = row < 0 ? row : answer(row)
      if (result !== NOT_CACHED) counters.observe(opcode, (performance.now() - started) * 1000, false)
      return result
    } catch (error) {
      log.error('a request failed', { path, error: describeError(error) })
      return -ERRNO.EIO
    }
  }
}

/** Both xattr calls ask with 0 bytes how many it takes. */
function sized(value: Buffer, out: Buffer): number {
  if (out.length === 0) return value.length
  return value.length > out.length ? -ERRNO.ERANGE : value.copy(out)
}
