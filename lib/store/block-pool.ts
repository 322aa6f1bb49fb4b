import { availableParallelism } from 'node:os'
import { threadUrl } from '../base/index.ts'
import type { BlockJob, BlockReply, BlockThreadData } from './block-jobs.ts'
import { ThreadLanes } from './thread-lanes.ts'

const THREADS_MAX = 8

type Unnumbered<T> = T extends { number: number } ? Omit<T, 'number'> : never
export type BlockWork = Unnumbered<BlockJob>
export type BlockResults = Extract<BlockReply, { results: Uint8Array }>

/** Threads that read pieces of files and make blocks of them. */
export class BlockPool {
  readonly #lanes: ThreadLanes<BlockWork, BlockResults>

  /** `threads`: one a core by default. */
  constructor(data: BlockThreadData, threads = Math.min(THREADS_MAX, availableParallelism())) {
    const url = threadUrl('block-worker', import.meta.url)
    this.#lanes = new ThreadLanes({ url, name: 'flistfs-blocks', threads, data, purpose: 'make blocks' })
  }

  /** Ends when a thread can take more. Throws what broke the pool. */
  room(): Promise<void> {
    return this.#lanes.room()
  }

  /** Buffers named in `moved` are the thread's from now on. */
  run(work: BlockWork, moved: readonly ArrayBuffer[] = []): Promise<BlockResults> {
    return this.#lanes.run(work, moved)
  }

  /** All that was stored in folders is on the disk. */
  async sync(): Promise<void> {
    await this.#lanes.runFirst({ kind: 'sync' })
  }

  /** Ends the threads, after what they have begun. Idempotent. */
  close(): Promise<void> {
    return this.#lanes.close()
  }
}
