import { closeSync } from 'node:fs'
import { epollControl, epollCreate, epollWait, failed } from './libc.ts'

export const POLLIN = 1
export const POLLERR = 8
export const POLLHUP = 16

const CLOEXEC = 0x8_0000
const ADD = 1
const REMOVE = 2
/** `struct epoll_event` is packed on x86-64 only. */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16
const DATA_AT = EVENT_BYTES - 8
/** Events taken at once; who is left comes next. */
const EVENTS_MAX = 64

/** Descriptors to wait for, however many, by epoll(7): who is ready costs, who is not costs nothing. */
export class PollSet {
  readonly #epoll: number
  readonly #events = Buffer.alloc(EVENT_BYTES * EVENTS_MAX)

  constructor(fds: readonly number[] = []) {
    this.#epoll = epollCreate(CLOEXEC)
    if (this.#epoll < 0) throw failed('FLIST_SYSTEM', 'wait for descriptors')
    for (const fd of fds) this.add(fd)
  }

  /** Throws FLIST_SYSTEM for what is no descriptor that can be waited for. */
  add(fd: number): void {
    const event = Buffer.alloc(EVENT_BYTES)
    event.writeUInt32LE(POLLIN, 0)
    event.writeInt32LE(fd, DATA_AT)
    if (epollControl(this.#epoll, ADD, fd, event) !== 0) throw failed('FLIST_SYSTEM', `wait for descriptor ${fd}`)
  }

  /** Call before it is closed: what another process has open too would be heard of for ever. */
  remove(fd: number): void {
    epollControl(this.#epoll, REMOVE, fd, this.#events)
  }

  /** Descriptors ready, 0 after `timeoutMs`, -1 on EINTR. */
  wait(timeoutMs: number): number {
    return epollWait(this.#epoll, this.#events, EVENTS_MAX, timeoutMs)
  }

  /** The nth descriptor that is ready. */
  fdAt(nth: number): number {
    return this.#events.readInt32LE(EVENT_BYTES * nth + DATA_AT)
  }

  /** The events that came for the nth one. */
  eventsAt(nth: number): number {
    return this.#events.readUInt32LE(EVENT_BYTES * nth)
  }

  close(): void {
    closeSync(this.#epoll)
  }
}
