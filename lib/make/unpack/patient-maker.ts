import { errnoName, LIMITS } from '../../base/index.ts'
import { rowStat } from '../../flist/index.ts'
import { FileStat, openAt, unlinkAt, zeroEnded } from '../../system/index.ts'
import type { OpenFolder } from '../open-folder.ts'
import { Attributes } from './attributes.ts'
import { clearName } from './clear-name.ts'
import { closeQuietly, type ContentTools, writeBlocks, writeContent } from './file-content.ts'
import { CREATE, EXISTING, isWhole } from './file-maker.ts'
import { Slots } from './slots.ts'
import type { Tally } from './tally.ts'
import type { UnpackRequest } from './unpack.ts'

/** A file to be made. */
export interface FileTask {
  /** Used by the task until `done`. */
  readonly folder: OpenFolder
  readonly row: number
  /** The folder was made in this run: nothing lies under the name. */
  readonly isFresh: boolean
  /** Called once: whether the file is there. */
  readonly done: (made: boolean) => void
}

/** Makes files out of blocks that may have to be waited for, many at a time, and says what is wrong with those it cannot make. */
export class PatientMaker {
  readonly #tools: ContentTools
  readonly #tally: Tally
  readonly #attributes: Attributes
  readonly #stat = new FileStat()
  readonly #files = new Slots(LIMITS.unpackFilesAtOnce)
  readonly #running = new Set<Promise<void>>()

  constructor({ index, supply }: UnpackRequest, tally: Tally, signal: AbortSignal) {
    const slots = new Slots(LIMITS.unpackBlocksAtOnce)
    this.#tools = { index, supply, slots, onBytes: (bytes) => tally.read(bytes), signal }
    this.#tally = tally
    this.#attributes = new Attributes(index, tally.left)
  }

  /** Ends when the file is begun. */
  async start(task: FileTask): Promise<void> {
    await this.#files.take()
    const fd = this.open(task)
    if (fd === undefined) return this.#files.give()
    const work = this.#fill(task, fd, (leader) => writeContent(fd, leader, this.#tools)).finally(() => {
      this.#files.give()
      this.#running.delete(work)
    })
    this.#running.add(work)
  }

  /** The empty file, for `finish`. Undefined where it is there already, or cannot be made: the task is done. */
  open({ folder, row, isFresh, done }: FileTask): number | undefined {
    const { index } = this.#tools
    const { fd: dir } = folder
    const stat = rowStat(index, row)
    const name = zeroEnded(index.nameOf(row))
    if (!isFresh && isWhole(this.#stat, dir, name, stat)) {
      const there = openAt(dir, name, EXISTING)
      if (there >= 0) {
        this.#attributes.ofFound(there, stat)
        closeQuietly(there)
        this.#tally.result.entries += 1
        this.#tally.result.kept += 1
        done(true)
        return undefined
      }
    }
    let fd = openAt(dir, name, CREATE, 0o600)
    if (fd < 0 && errnoName(-fd) === 'EEXIST' && clearName(dir, name)) fd = openAt(dir, name, CREATE, 0o600)
    if (fd >= 0) return fd
    this.#tally.failed(index.pathOf(row), 'name', -fd)
    done(false)
    return undefined
  }

  /** Writes the blocks of a file that are not there yet. */
  finish(task: FileTask, fd: number, missing: readonly number[]): Promise<void> {
    return this.#fill(task, fd, (leader) => writeBlocks(fd, leader, missing, this.#tools))
  }

  /** Takes a file away that cannot be made. */
  giveUp(task: FileTask, fd: number, why: unknown): Promise<void> {
    return this.#fill(task, fd, () => Promise.reject(why))
  }

  /** Ends when no file is at work. */
  async settle(): Promise<void> {
    await Promise.all(this.#running)
  }

  async #fill({ folder, row, done }: FileTask, fd: number, write: (leader: number) => Promise<void>): Promise<void> {
    const { index, signal } = this.#tools
    let made = false
    try {
      signal.throwIfAborted()
      await write(index.leader[row] ?? row)
      this.#attributes.ofOpen(fd, rowStat(index, row))
      this.#tally.result.entries += 1
      made = true
    } catch (error) {
      // Half a file is worse than none.
      unlinkAt(folder.fd, zeroEnded(index.nameOf(row)))
      if (!signal.aborted) this.#tally.contentFailed(index.pathOf(row), error)
    } finally {
      closeQuietly(fd)
      done(made)
    }
  }
}
