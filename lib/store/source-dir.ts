import { constants, closeSync, fstatSync, open, read, stat } from 'node:fs'
import { FlistError, LIMITS, systemCode } from '../base/index.ts'
import { LocalFolder } from './local-folder.ts'
import type { BlockSource } from './port.ts'
import { takeStored } from './spent.ts'
import { abortError, PROTOCOL_HINT, storeError, UNREACHABLE_HINT } from './store-errors.ts'

// O_NONBLOCK: opening a FIFO in the folder must not wait for its writer.
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK

const THERE = Buffer.alloc(0)

/** Calls a dead network folder may hold: libuv has four threads for the whole process. */
const STUCK_CALLS_MAX = 2

/**
 * Blocks in a folder: `<id[0:2]>/<id>` as rfs writes them, or flat `<id>`. Opening and reading are asynchronous, so that a
 * dead NFS never stops the thread; what the kernel answers from an open file's inode is not (docs/decisions/031). Small
 * files of a local disk are read at once (091).
 */
export class DirSource implements BlockSource {
  readonly name: string
  readonly #root: string
  /** Which layout had the last block: the other one is asked second. */
  #flat = false
  #stuck = 0
  readonly #local: LocalFolder

  constructor(name: string, root: string) {
    this.name = name
    this.#root = root
    this.#local = new LocalFolder(root)
  }

  async get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
    if (signal.aborted) throw abortError(signal, this.name)
    const hex = id.toString('hex')
    const first = this.#flat
    const small = this.#local.read(first ? '.' : hex.slice(0, 2), hex)
    if (small !== undefined) return small
    let stored = await this.#readStored(hex, first, signal)
    if (stored === undefined) {
      stored = await this.#readStored(hex, !first, signal)
      if (stored !== undefined) this.#flat = !first
    }
    if (stored === undefined) await this.#call((done) => needFolder(this.#root, done), signal)
    return stored
  }

  async has(id: Buffer, signal: AbortSignal): Promise<boolean> {
    const hex = id.toString('hex')
    const isThere = (flat: boolean): Promise<Buffer | undefined> =>
      this.#call((done) => {
        stat(this.#path(hex, flat), (error, about) => {
          if (error !== null) return done(absent(error) ? undefined : error)
          if (!flat) this.#local.note(hex.slice(0, 2), about.dev)
          done(undefined, about.isFile() && about.size > 0 ? THERE : undefined)
        })
      }, signal)
    if ((await isThere(false)) !== undefined) return true
    if ((await isThere(true)) !== undefined) return true
    await this.#call((done) => needFolder(this.#root, done), signal)
    return false
  }

  hasNow(id: Buffer): boolean {
    const hex = id.toString('hex')
    return this.#local.holds(hex.slice(0, 2), hex)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is held between calls.
  }

  #readStored(hex: string, flat: boolean, signal: AbortSignal): Promise<Buffer | undefined> {
    const note = (device: number): void => this.#local.note(flat ? '.' : hex.slice(0, 2), device)
    return this.#call((done) => readStored(this.#path(hex, flat), note, done), signal)
  }

  #path(hex: string, flat: boolean): string {
    return flat ? `${this.#root}/${hex}` : `${this.#root}/${hex.slice(0, 2)}/${hex}`
  }

  #call(start: (done: Done) => void, signal: AbortSignal): Promise<Buffer | undefined> {
    if (this.#stuck >= STUCK_CALLS_MAX) {
      return Promise.reject(
        storeError('FLIST_STORE_UNREACHABLE', this.name, 'earlier reads never came back', UNREACHABLE_HINT),
      )
    }
    return new Promise((resolve, reject) => {
      let left = false
      const onAbort = (): void => {
        left = true
        this.#stuck += 1
        reject(abortError(signal, this.name))
      }
      signal.addEventListener('abort', onAbort, { once: true })
      start((error, value) => {
        if (left) this.#stuck -= 1
        else signal.removeEventListener('abort', onAbort)
        if (error === undefined) resolve(value)
        else reject(asStoreError(this.name, error))
      })
    })
  }
}

type Done = (error: unknown, value?: Buffer) => void

/** `note` is told on which device the file lies. */
function readStored(path: string, note: (device: number) => void, done: Done): void {
  open(path, OPEN_FLAGS, (error, fd) => {
    if (error !== null) return absent(error) ? done(undefined) : done(error)
    const finish: Done = (failure, value) => {
      closeSync(fd)
      done(failure, value)
    }
    try {
      const about = fstatSync(fd)
      note(about.dev)
      if (!about.isFile()) return finish(new NotABlock('a block is not a regular file'))
      if (about.size === 0) return finish(new NotABlock('a block is empty'))
      if (about.size > LIMITS.storedBlockBytesMax) return finish(new NotABlock('a block is too large'))
      readAll(fd, takeStored(about.size), 0, finish)
    } catch (failure) {
      finish(failure)
    }
  })
}

function readAll(fd: number, into: Buffer, at: number, done: Done): void {
  read(fd, into, at, into.length - at, at, (error, bytes) => {
    if (error !== null) done(error)
    // Shorter than it was a moment ago: the codec will say what that means.
    else if (bytes === 0) done(undefined, into.subarray(0, at))
    else if (at + bytes === into.length) done(undefined, into)
    else readAll(fd, into, at + bytes, done)
  })
}

/** A missing block is an answer, a missing folder is not. */
function needFolder(root: string, done: Done): void {
  stat(root, (error, about) => {
    if (error !== null) done(error)
    else done(about.isDirectory() ? undefined : new NotABlock('it is not a folder'))
  })
}

class NotABlock extends Error {
  override readonly name = 'NotABlock'
}

function absent(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function asStoreError(name: string, error: unknown): FlistError {
  if (error instanceof NotABlock) return storeError('FLIST_STORE_PROTOCOL', name, error.message, PROTOCOL_HINT)
  const code = systemCode(error)
  if (code === 'EACCES' || code === 'EPERM')
    return storeError('FLIST_STORE_DENIED', name, code, 'Make the folder readable', error)
  const why = absent(error) ? 'the folder is not there' : code || 'the read failed'
  return storeError('FLIST_STORE_UNREACHABLE', name, why, UNREACHABLE_HINT, error)
}
