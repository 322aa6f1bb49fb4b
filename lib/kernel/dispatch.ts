import { describeError, ERRNO, type Log, LIMITS } from '../base/index.ts'
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
import type { Trace } from './trace.ts'

/** No reply is due. */
const SILENT = -0x30000

export interface DispatcherParts {
  readonly answers: Answers
  readonly counters: Counters
  readonly wish: InitWish
  readonly log: Log
  readonly trace?: Trace | undefined
  /** Set where files are opened by the kernel (`--passthrough`); without it OPEN ends with ENOSYS. */
  readonly openFiles: OpenFiles | undefined
  readonly onInit: (agreed: InitAgreement) => void
  readonly onInterrupt: (uniqueLo: number, uniqueHi: number) => void
}

/** From one request to its reply, in the buffers of `answers`; touches no device. */
export class Dispatcher {
  readonly #parts: DispatcherParts

  constructor(parts: DispatcherParts) {
    this.#parts = parts
  }

  /**
   * Answers the request of `length` bytes in `answers.frame`. Returns the bytes of the reply that lies in
   * `answers.reply`, 0 where none is due, and -1 where the fetch thread will write it. Never throws.
   */
  respond(length: number): number {
    const { answers, trace } = this.#parts
    // The kernel sends no such thing, and there is nobody to reply to.
    if (length < IN_HEADER.size) return 0
    if (trace === undefined || !trace.on) return this.#respond(length)
    const { bytes } = answers.frame
    trace.request(bytes.subarray(0, length))
    const started = performance.now()
    const replyBytes = this.#respond(length)
    if (replyBytes > 0) {
      const errno = -(answers.reply.u32[OUT_HEADER.error / 4] ?? 0) | 0
      trace.replyTo(bytes, errno, replyBytes - OUT_HEADER.size, (performance.now() - started) * 1000)
    }
    return replyBytes
  }

  #respond(length: number): number {
    const { answers, log } = this.#parts
    const { u32, bytes } = answers.frame
    let result: number
    try {
      result = this.#answer(u32[IN_HEADER.opcode / 4] ?? 0, length)
    } catch (error) {
      log.error('a request failed', {
        request: describeRequest(bytes.subarray(0, length)),
        error: describeError(error),
      })
      result = -ERRNO.EIO
    }
    if (result === DEFERRED) return -1
    if (result === SILENT) return 0
    const replyBytes = OUT_HEADER.size + Math.max(result, 0)
    const errno = result < 0 ? -result : 0
    const unique = IN_HEADER.unique / 4
    putOutHeader(answers.reply.u32, replyBytes, errno, u32[unique] ?? 0, u32[unique + 1] ?? 0)
    return replyBytes
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
