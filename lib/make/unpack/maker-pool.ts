import { availableParallelism } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import { threadUrl } from '../../base/index.ts'
import type { FlistIndex } from '../../flist/index.ts'
import { type LocalRoute, prepareCodec, ThreadLanes } from '../../store/index.ts'
import { FileMaker, type MakerJob, type MakerResult } from './file-maker.ts'

/** What threads need to make files by themselves. */
export interface LocalContent {
  /** Where the index of the archive lies. */
  readonly indexPath: string
  readonly routes: readonly LocalRoute[]
}

/** Files are made here: by threads, or by the thread that asks. */
export interface Making extends AsyncDisposable {
  /** Ends when another job may be begun. */
  room(): Promise<void>
  /** Never throws: what is not done is said in the result. */
  run(job: MakerJob): Promise<MakerResult>
}

/** More of them wait for each other's folders, and have too many blocks open. */
const THREADS_MAX = 4
/** Two threads take 0.2 s of processor time to start: as much as to make so many files, or so many bytes. */
const THREADS_BLOCKS_MIN = 1000
const THREADS_BYTES_MIN = 64 * 1024 * 1024

/** Threads where there is enough to do for them. */
export async function openMaking(index: FlistIndex, content: LocalContent): Promise<Making> {
  if (index.blockCount >= THREADS_BLOCKS_MIN || index.contentBytes >= THREADS_BYTES_MIN) {
    return new MakerPool(content, index.digest)
  }
  await prepareCodec()
  return new MakerHere(new FileMaker(index, content.routes))
}

class MakerHere implements Making {
  readonly #maker: FileMaker

  constructor(maker: FileMaker) {
    this.#maker = maker
  }

  /** An interrupt is heard meanwhile. */
  async room(): Promise<void> {
    await setImmediate()
  }

  async run(job: MakerJob): Promise<MakerResult> {
    return this.#maker.run(job)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#maker[Symbol.dispose]()
  }
}

class MakerPool implements Making {
  readonly #lanes: ThreadLanes<MakerJob, MakerResult>

  constructor(content: LocalContent, digest: string) {
    const url = threadUrl('maker-worker', import.meta.url)
    const threads = Math.min(THREADS_MAX, availableParallelism())
    const data = { ...content, digest }
    this.#lanes = new ThreadLanes({ url, name: 'flistfs-files', threads, data, purpose: 'make files' })
  }

  async room(): Promise<void> {
    // What broke the threads leaves all to the other way.
    await this.#lanes.room().catch(() => undefined)
  }

  async run(job: MakerJob): Promise<MakerResult> {
    try {
      return await this.#lanes.run(job)
    } catch {
      const undone = job.kind === 'files' ? [...job.rows.keys()] : numbers(job.from, job.to)
      return { bytes: 0, kept: 0, undone, leftOut: [] }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lanes.close()
  }
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at)
}
