import { describeError, ERRNO, errnoName, type Log, LIMITS } from '../base/index.ts'
import { errno, eventLoopFd, POLLERR, POLLHUP, PollSet, read, write } from '../system/index.ts'
import {
  agree,
  describeRequest,
  FUSE_MAJOR,
  FUSE_MINOR_MIN,
  IN_HEADER,
  type InitAgreement,
  type InitWish,
  INTERRUPT_IN,
  OPCODE,
  opcodeInfo,
  OUT_HEADER,
  putOutHeader,
  readInit,
  writeInit,
} from '../wire/index.ts'
import { type Answers, DEFERRED } from './answers.ts'
import type { Counters } from './counters.ts'
import type { OpenFiles } from './open-files.ts'

/** No reply is due. */
const SILENT = -0x30000

/** Requests answered before the event loop (signals, timers) has its turn. */
const TURN_EVERY = 4096
const IDLE_MS = 1000

export interface SessionParts {
  readonly fd: number
  readonly answers: Answers
  readonly counters: Counters
  readonly wish: InitWish
  readonly log: Log
  /** Set where files are opened by the kernel (`--passthrough`); without it OPEN ends with ENOSYS. */
  readonly openFiles: OpenFiles | undefined
  readonly onInit: (agreed: InitAgreement) => void
  readonly onInterrupt: (uniqueLo: number, uniqueHi: number) => void
  /** Called when nothing came for a second. */
  readonly onIdle: () => void
}

/**
 * The session thread: takes requests from the device, answers what it knows at once and leaves the rest to the fetch
 * thread. It blocks in poll(2) on the device and on the event loop together, so signals and messages are heard.
 */
export class Session {
  readonly #parts: SessionParts
  readonly #poll: PollSet
  #ended = false

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.#poll = new PollSet([parts.fd, eventLoopFd()])
  }

  /** Serves until the file system is unmounted or the connection is aborted. */
  async run(): Promise<void> {
    const { fd, answers } = this.#parts
    const { bytes } = answers.frame
    let sinceTurn = 0
    while (!this.#ended) {
      const length = read(fd, bytes, bytes.length)
      if (length > 0) {
        this.#serve(length)
        sinceTurn += 1
        if (sinceTurn < TURN_EVERY) continue
      } else if (this.#failed(length)) {
        return
      } else if (!this.#wait()) {
        continue
      }
      sinceTurn = 0
      await new Promise(setImmediate)
    }
  }

  /** Ends `run` at its next turn. */
  end(): void {
    this.#ended = true
  }

  /** True when the device is gone: ENODEV after an unmount, ECONNABORTED or EPERM after an abort. */
  #failed(length: number): boolean {
    if (length === 0) return true
    const number = errno()
    if (number === ERRNO.EAGAIN || number === ERRNO.EINTR || number === ERRNO.ENOENT) return false
    if (number !== ERRNO.ENODEV) this.#parts.log.warn('the connection ended', { errno: errnoName(number) })
    return true
  }

  /** Waits for a request. True when the event loop should run first. */
  #wait(): boolean {
    const ready = this.#poll.wait(IDLE_MS)
    if (ready === 0) this.#parts.onIdle()
    if (ready <= 0) return true
    if (this.#poll.events(1) !== 0) return true
    // After an abort the device is only ever in error: the next read tells how.
    return (this.#poll.events(0) & (POLLERR | POLLHUP)) !== 0
  }

  #serve(length: number): void {
    const { answers, counters, log } = this.#parts
    const started = performance.now()
    const { u32, bytes } = answers.frame
    const opcode = u32[IN_HEADER.opcode / 4] ?? 0
    let result: number
    try {
      result = this.#answer(opcode, length)
    } catch (error) {
      log.error('a request failed', {
        request: describeRequest(bytes.subarray(0, length)),
        error: describeError(error),
      })
      result = -ERRNO.EIO
    }
    if (result === DEFERRED) return
    if (result !== SILENT) this.#reply(result)
    counters.observe(opcode, (performance.now() - started) * 1000, false)
  }

  #reply(result: number): void {
    const { answers, fd, log } = this.#parts
    const { frame, reply } = answers
    const length = OUT_HEADER.size + Math.max(result, 0)
    const error = result < 0 ? -result : 0
    putOutHeader(
      reply.u32,
      length,
      error,
      frame.u32[IN_HEADER.unique / 4] ?? 0,
      frame.u32[IN_HEADER.unique / 4 + 1] ?? 0,
    )
    if (write(fd, reply.bytes, length) === length) return
    const number = errno()
    // ENOENT: the reader was killed meanwhile.
    if (number !== ERRNO.ENOENT && number !== ERRNO.ENODEV) {
      log.error('the kernel refused a reply', {
        errno: errnoName(number),
        request: describeRequest(frame.bytes.subarray(0, IN_HEADER.size)),
      })
    }
  }

  #answer(opcode: number, length: number): number {
    const info = opcodeInfo(opcode)
    if (info === undefined) return -ERRNO.ENOSYS
    if (length < IN_HEADER.size + info.bodyBytes) return info.replies ? -ERRNO.EINVAL : SILENT
    const { answers } = this.#parts
    switch (opcode) {
      case OPCODE.lookup:
        return answers.lookup(length)
      case OPCODE.getattr:
        return answers.getattr()
      case OPCODE.read:
        return this.#read(answers)
      case OPCODE.readdirplus:
        return answers.readdir(true)
      case OPCODE.readdir:
        return answers.readdir(false)
      case OPCODE.readlink:
        return answers.readlink()
      case OPCODE.getxattr:
        return answers.getxattr(length)
      case OPCODE.listxattr:
        return answers.listxattr()
      case OPCODE.statfs:
        return answers.statfs()
      case OPCODE.forget:
      case OPCODE.batchForget:
        // Node ids are rows: nothing is counted.
        return SILENT
      default:
        return this.#answerRare(opcode, length)
    }
  }

  #answerRare(opcode: number, length: number): number {
    const { answers, openFiles } = this.#parts
    switch (opcode) {
      case OPCODE.open:
        return openFiles === undefined ? -ERRNO.ENOSYS : openFiles.open(answers.frame, answers.reply)
      case OPCODE.release:
        return openFiles === undefined ? -ERRNO.ENOSYS : openFiles.release(answers.frame)
      case OPCODE.interrupt:
        this.#interrupt()
        return SILENT
      case OPCODE.init:
        return this.#init(length)
      case OPCODE.destroy:
        return 0
      default:
        if (opcodeInfo(opcode)?.replies === false) return SILENT
        return opcodeInfo(opcode)?.writes === true ? -ERRNO.EROFS : -ERRNO.ENOSYS
    }
  }

  #read(answers: Answers): number {
    const { counters } = this.#parts
    const got = answers.read()
    if (got >= 0) {
      counters.add('bytesRead', got)
      counters.add('readsFromCache', 1)
    }
    return got
  }

  #interrupt(): void {
    const { u32 } = this.#parts.answers.frame
    const word = (IN_HEADER.size + INTERRUPT_IN.unique) / 4
    this.#parts.counters.add('interrupted', 1)
    this.#parts.onInterrupt(u32[word] ?? 0, u32[word + 1] ?? 0)
  }

  #init(length: number): number {
    const { answers, wish, log, onInit } = this.#parts
    const offer = readInit(answers.frame.bytes, IN_HEADER.size, length - IN_HEADER.size)
    if (offer.major !== FUSE_MAJOR || offer.minor < FUSE_MINOR_MIN) {
      log.error('this kernel is too old: Linux 5.15 or newer is needed', { major: offer.major, minor: offer.minor })
      return -ERRNO.EPROTO
    }
    const agreed = agree(offer, wish)
    const body = writeInit(offer, agreed)
    // Whoever waits for the mount is told when INIT's answer is on its way.
    setImmediate(() => onInit(agreed))
    log.debug('INIT', {
      minor: offer.minor,
      flags: agreed.flags,
      flags2: agreed.flags2,
      readahead: LIMITS.readBytesMax,
    })
    return body.copy(answers.reply.bytes, OUT_HEADER.size)
  }
}
