import { ftruncateSync } from 'node:fs'
import type { FlistIndex } from '../../flist/index.ts'
import { blocksOf } from './file-content.ts'
import type { MakerResult } from './file-maker.ts'
import type { Making } from './maker-pool.ts'
import { type FileTask, PatientMaker } from './patient-maker.ts'
import { Slots } from './slots.ts'
import type { Tally } from './tally.ts'
import type { UnpackRequest } from './unpack.ts'

/** Files of one job: enough that handing it over costs nothing, few enough that all threads have some. */
const FILES_PER_JOB = 128
/** Blocks of one job, which are open at the same time: with the folders of all jobs, half of the 1,024 files that a process may have open. */
const BLOCKS_PER_JOB = 64
/** Open folders of one job. */
const FOLDERS_PER_JOB = 32
/** A file of more blocks goes to several threads, so many at a time. */
const BLOCKS_PER_PART = 16
/** Jobs of which something is still to be begun. */
const JOBS_AT_ONCE = 32

/**
 * The regular files of one unpacking. Where blocks lie in folders of this machine, jobs of many files go to `making`; everything else,
 * and what is not done there, is made by the way that can wait.
 */
export class Files {
  readonly #index: FlistIndex
  readonly #tally: Tally
  readonly #making: Making | undefined
  readonly #patient: PatientMaker
  readonly #signal: AbortSignal
  readonly #jobs = new Slots(JOBS_AT_ONCE)
  readonly #running = new Set<Promise<void>>()
  /** Of the next job. */
  #tasks: FileTask[] = []
  #blocks = 0
  #folders = 0

  constructor(request: UnpackRequest, making: Making | undefined, tally: Tally, signal: AbortSignal) {
    this.#index = request.index
    this.#making = making
    this.#tally = tally
    this.#signal = signal
    this.#patient = new PatientMaker(request, tally, signal)
  }

  /** Ends when more may come. */
  async add(task: FileTask): Promise<void> {
    const leader = this.#index.leader[task.row] ?? task.row
    const count = blocksOf(this.#index.size[leader] ?? 0)
    if (this.#making === undefined || count > (this.#index.count[leader] ?? 0)) return this.#patient.start(task)
    if (count > BLOCKS_PER_PART) return this.#addLarge(this.#making, task, leader, count)
    if (this.#blocks + count > BLOCKS_PER_JOB) await this.flush()
    if (this.#tasks.at(-1)?.folder !== task.folder) this.#folders += 1
    this.#tasks.push(task)
    this.#blocks += count
    if (this.#tasks.length >= FILES_PER_JOB || this.#folders >= FOLDERS_PER_JOB) await this.flush()
  }

  /** Begins with what waits for others to share a job. */
  async flush(): Promise<void> {
    const tasks = this.#tasks
    if (this.#making === undefined || tasks.length === 0) return
    this.#tasks = []
    this.#blocks = 0
    this.#folders = 0
    await this.#jobs.take()
    await this.#making.room()
    const job = {
      kind: 'files',
      dirs: Int32Array.from(tasks, ({ folder }) => folder.fd),
      rows: Uint32Array.from(tasks, ({ row }) => row),
      fresh: Uint8Array.from(tasks, ({ isFresh }) => Number(isFresh)),
    } as const
    this.#track(this.#making.run(job).then((result) => this.#made(tasks, result)))
  }

  /** Ends when nothing is at work. What was not begun is not made. */
  async settle(): Promise<void> {
    for (const task of this.#tasks.splice(0)) task.done(false)
    await Promise.all(this.#running)
    await this.#patient.settle()
  }

  async #made(tasks: readonly FileTask[], result: MakerResult): Promise<void> {
    const undone = new Set(result.undone)
    this.#tally.result.entries += tasks.length - undone.size
    this.#tally.result.kept += result.kept
    this.#take(result)
    for (const [nth, task] of tasks.entries()) if (!undone.has(nth)) task.done(true)
    for (const nth of undone) {
      const task = tasks[nth]
      if (task === undefined) continue
      if (this.#signal.aborted || this.#tally.hasFailed) task.done(false)
      else await this.#patient.start(task)
    }
    this.#jobs.give()
  }

  #take({ bytes, leftOut }: MakerResult): void {
    for (const one of leftOut) this.#tally.left.put(one)
    this.#tally.read(bytes)
  }

  async #addLarge(making: Making, task: FileTask, leader: number, count: number): Promise<void> {
    const fd = this.#patient.open(task)
    if (fd === undefined) return
    const missing: number[] = []
    let failure: unknown
    const parts = new Set<Promise<void>>()
    let from = 0
    try {
      ftruncateSync(fd, this.#index.size[leader] ?? 0)
      for (; from < count && !this.#signal.aborted; from += BLOCKS_PER_PART) {
        const to = Math.min(count, from + BLOCKS_PER_PART)
        await making.room()
        const part = making.run({ kind: 'part', fd, row: leader, from, to }).then((result) => {
          this.#take(result)
          missing.push(...result.undone)
          parts.delete(part)
        })
        parts.add(part)
      }
    } catch (error) {
      // Too large for the file system.
      failure = error
    }
    const finish = (): Promise<void> =>
      failure === undefined ? this.#patient.finish(task, fd, missing) : this.#patient.giveUp(task, fd, failure)
    this.#track(Promise.all(parts).then(finish))
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#running.delete(tracked))
    this.#running.add(tracked)
  }
}
