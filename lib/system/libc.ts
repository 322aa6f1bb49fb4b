import koffi from 'koffi'
import { closeSync, constants, openSync } from 'node:fs'
import { errnoName, FlistError, type FlistErrorCode, invariant } from '../base/index.ts'
import { late, libc } from './late.ts'

/**
 * Every foreign call of the project is declared here, in `files.ts` or in `entries.ts` (x86-64 and arm64 Linux; glibc or musl).
 * Each returns what the C function returns; `errno()` is valid right after a failed call.
 */
type ForeignFunction = ReturnType<typeof libc.func>

koffi.struct('iovec', { base: 'void *', len: 'size_t' })

const cMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, ulong flags, const char *data)',
)
const cUmount2 = libc.func('int umount2(const char *target, int flags)')
const cIoctl = late('int ioctl(int fd, ulong request, _Inout_ void *argument)')
const cMmap = late('void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)')
const cMunmap = late('int munmap(void *address, size_t length)')
const cMadvise = late('int madvise(void *address, size_t length, int advice)')
const cUtimensat = late('int utimensat(int dir, const char *path, const uint8_t *times, int flags)')
const cSetxattr = late('int setxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)')
const cFcntl = late('int fcntl(int fd, int command, int argument)')
const cDup2 = late('int dup2(int from, int to)')
const cSetsid = late('int setsid()')
/** glibc only. */
const cMallocTrim = optional('int malloc_trim(size_t pad)')
const cMallopt = optional('int mallopt(int parameter, int value)')
const cExit = late('void _exit(int code)')
/** `ssize_t read(int, void *, size_t)` with no checks: the hot path of the session thread. */
export const read = libc.func('long read(int fd, _Out_ uint8_t *buffer, size_t length)') as unknown as (
  fd: number,
  buffer: Buffer,
  length: number,
) => number
/** `ssize_t write(int, const void *, size_t)`. */
export const write = libc.func('long write(int fd, const uint8_t *buffer, size_t length)') as unknown as (
  fd: number,
  buffer: Buffer,
  length: number,
) => number
/** `ssize_t pread(int, void *, size_t, off_t)`. */
export const pread = libc.func('long pread(int fd, _Out_ uint8_t *buffer, size_t length, long offset)') as unknown as (
  fd: number,
  buffer: Buffer,
  length: number,
  offset: number,
) => number

/** A function that not every C library has. */
function optional(declaration: string): ForeignFunction | undefined {
  try {
    return libc.func(declaration)
  } catch {
    return undefined
  }
}

/** malloc_trim(3): free pages of all arenas go back to the system, where the C library can do that. */
export function trimHeap(): void {
  cMallocTrim?.(0)
}

/** From malloc.h. */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3

/**
 * mallopt(3): freed pieces of up to `pieceBytes` stay in the process until `trimHeap`, or until `keptBytes` are free in one
 * heap; where the C library can do that.
 */
export function keepHeap(pieceBytes: number, keptBytes: number): void {
  cMallopt?.(M_MMAP_THRESHOLD, pieceBytes)
  cMallopt?.(M_TRIM_THRESHOLD, keptBytes)
}

/** `errno` of the last failed call on this thread. */
export function errno(): number {
  return koffi.errno()
}

export function failed(code: FlistErrorCode, action: string, number = errno(), hint?: string): FlistError {
  const options = hint === undefined ? {} : { hint }
  return new FlistError(code, `Cannot ${action}: ${errnoName(number)}`, options)
}

/** Mount flags, `include/uapi/linux/mount.h`. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  /** Linux 5.10. */
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  BIND: 4096,
  PRIVATE: 1 << 18,
} as const

/** What a mount does not honour, as flags of mount(2). */
export function mountFlags(words: {
  readonly suid: boolean
  readonly dev: boolean
  readonly noexec: boolean
  readonly nosymfollow: boolean
}): number {
  const { suid, dev, noexec, nosymfollow } = words
  const flags = (suid ? 0 : MS.NOSUID) | (dev ? 0 : MS.NODEV)
  return flags | (noexec ? MS.NOEXEC : 0) | (nosymfollow ? MS.NOSYMFOLLOW : 0)
}

/** Flags of umount2(2). */
export const MNT = { FORCE: 1, DETACH: 2, NOFOLLOW: 8 } as const

/** mount(2). Throws FLIST_MOUNT_FAILED, or FLIST_NOT_PERMITTED for EPERM. */
export function mount(source: string, target: string, type: string, flags: number, data: string): void {
  if (cMount(source, target, type, flags, data) === 0) return
  const number = errno()
  const code = errnoName(number) === 'EPERM' ? 'FLIST_NOT_PERMITTED' : 'FLIST_MOUNT_FAILED'
  throw failed(code, `mount ${type} on "${target}"`, number)
}

/** umount2(2). Returns 0 or the errno: the caller knows what EBUSY or EINVAL mean to him. */
export function umount(target: string, flags: number): number {
  return cUmount2(target, flags | MNT.NOFOLLOW) === 0 ? 0 : errno()
}

/** umount2(2) on a thread of its own, for the process that serves the mount: it must go on serving meanwhile. */
export function umountAsync(target: string, flags: number): Promise<number> {
  return callAsync(cUmount2, [target, flags | MNT.NOFOLLOW])
}

/** mount(2) on a thread of its own: an overlay looks at its lower layer, which may be ours. Returns 0 or the errno. */
export function mountAsync(source: string, target: string, type: string, flags: number, data: string): Promise<number> {
  return callAsync(cMount, [source, target, type, flags, data])
}

/** 0, or the errno of a call that says -1. */
function callAsync(call: ForeignFunction, words: readonly (string | number)[]): Promise<number> {
  return new Promise((resolve, reject) => {
    call.async(...words, (error: Error | null, result: number) => {
      if (error) reject(error)
      else resolve(result === 0 ? 0 : koffi.errno())
    })
  })
}

/** Ioctls of /dev/fuse, `include/uapi/linux/fuse.h`; the numbers are those of x86-64 and arm64. */
export const FUSE_IOCTL = { clone: 0x8004_e500, backingOpen: 0x4010_e501, backingClose: 0x4004_e502 } as const

/** ioctl(2) with a small argument. Returns what the call does; -1 sets `errno()`. */
export function ioctl(fd: number, request: number, argument: Buffer): number {
  return cIoctl(fd, request, argument)
}

const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 1
const MADV_DONTNEED = 4

export interface Mapping {
  readonly bytes: ArrayBuffer
  /** Gives the resident pages back; they are read again from the page cache when touched. */
  release(): void
  /** The mapping is gone: touching `bytes` afterwards is a fault. Idempotent. */
  close(): void
}

/** Maps a whole file, shared; read-only unless asked. `length` in bytes, above 0. Throws FLIST_SYSTEM. */
export function mapFile(path: string, length: number, writable = false): Mapping {
  invariant(length > 0, 'a mapping is not empty')
  const fd = openSync(path, writable ? 'r+' : 'r')
  try {
    const pointer: unknown = cMmap(null, length, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0)
    if (koffi.address(pointer) === 0xffff_ffff_ffff_ffffn) throw failed('FLIST_SYSTEM', `map "${path}"`)
    let open = true
    return {
      bytes: koffi.view(pointer, length),
      release: () => void (open && cMadvise(pointer, length, MADV_DONTNEED)),
      close: () => {
        if (open) cMunmap(pointer, length)
        open = false
      },
    }
  } finally {
    closeSync(fd)
  }
}

/**
 * The descriptor that becomes readable when this process's event loop has something to do (libuv's uv_backend_fd): a
 * thread that blocks in poll(2) on it still hears signals, messages and finished calls. Timers do not show there.
 */
export function eventLoopFd(): number {
  const loop: unknown = libc.func('void *uv_default_loop()')()
  return libc.func('int uv_backend_fd(void *loop)')(loop)
}

/** `uv_metrics_t`: u64 of rounds, u64 of events, and more. */
const METRICS_BYTES = 16 * 8
const METRICS_EVENTS = 8

/** Counts the events that this process's event loop has had. Node's own way to ask for it costs a start 2 ms. */
export class EventCount {
  readonly #metrics = Buffer.alloc(METRICS_BYTES)
  readonly #loop: unknown = libc.func('void *uv_default_loop()')()
  readonly #ask = libc.func('int uv_metrics_info(void *loop, _Out_ uint8_t *metrics)')

  now(): number {
    this.#ask(this.#loop, this.#metrics)
    return this.#metrics.readUInt32LE(METRICS_EVENTS)
  }
}

export const epollCreate = libc.func('int epoll_create1(int flags)') as unknown as (flags: number) => number
export const epollControl = libc.func(
  'int epoll_ctl(int epoll, int operation, int fd, _Inout_ uint8_t *event)',
) as unknown as (epoll: number, operation: number, fd: number, event: Buffer) => number
export const epollWait = libc.func(
  'int epoll_wait(int epoll, _Inout_ uint8_t *events, int count, int timeoutMs)',
) as unknown as (epoll: number, events: Buffer, count: number, timeoutMs: number) => number
/** syscall(2), for calls that not every C library has. */
export const systemCall = libc.func('long syscall(long number, long a, long b, long c, long d)') as unknown as (
  ...words: [number, number, number, number, number]
) => number

const F_SETFD = 2
const F_GETFL = 3
const F_SETFL = 4
const FD_CLOEXEC = 1

/** Makes an inherited descriptor not block (O_NONBLOCK), and keeps it from programs that we start. */
export function adopt(fd: number): void {
  const flags: number = cFcntl(fd, F_GETFL, 0)
  if (flags < 0 || cFcntl(fd, F_SETFL, flags | constants.O_NONBLOCK) < 0) {
    throw failed('FLIST_SYSTEM', `use descriptor ${fd}`)
  }
  cFcntl(fd, F_SETFD, FD_CLOEXEC)
}

const AT_FDCWD = -100

/** utimensat(2): both times of a file, whole seconds and nanoseconds. Throws FLIST_SYSTEM. */
export function setTimes(path: string, seconds: number, nanoseconds: number): void {
  const times = Buffer.alloc(32)
  for (const at of [0, 16]) {
    times.writeBigInt64LE(BigInt(seconds), at)
    times.writeBigInt64LE(BigInt(nanoseconds), at + 8)
  }
  if (cUtimensat(AT_FDCWD, path, times, 0) !== 0) throw failed('FLIST_SYSTEM', `set the times of "${path}"`)
}

/** setxattr(2). Throws FLIST_SYSTEM. */
export function setXattr(path: string, name: string, value: Buffer): void {
  if (cSetxattr(path, name, value, value.length, 0) !== 0) throw failed('FLIST_SYSTEM', `set "${name}" of "${path}"`)
}

/** dup2(2): `fd` means what `from` means, at once for all threads. */
export function redirect(fd: number, from: number): void {
  if (cDup2(from, fd) < 0) throw failed('FLIST_SYSTEM', `redirect descriptor ${fd}`)
}

/** setsid(2): out of the terminal's reach. Fails harmlessly for a leader of its group. */
export function setsid(): void {
  cSetsid()
}

/** _exit(2): leaves at once, even with a thread blocked in a system call. */
export function exitNow(code: number): never {
  cExit(code)
  throw new Error('_exit returned')
}

const cSocket = late('int socket(int domain, int type, int protocol)')
const msghdr = koffi.struct('msghdr', {
  name: 'void *',
  namelen: 'uint32_t',
  iov: 'iovec *',
  iovlen: 'size_t',
  control: 'void *',
  controllen: 'size_t',
  flags: 'int',
})
const cSendmsg = late('long sendmsg(int fd, const msghdr *message, int flags)')
invariant(koffi.sizeof(msghdr) === 56, 'struct msghdr is 56 bytes')

const AF_UNIX = 1
const SOCK_DGRAM_CLOEXEC = 2 | 0x8_0000
const MSG_NOSIGNAL = 0x4000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
/** `struct cmsghdr`: u64 length, i32 level, i32 type; then the descriptors, padded to 8 bytes. */
const CMSG_HEADER_BYTES = 16

/**
 * Sends one datagram to a unix socket, with descriptors. `address` is the path, or a name that starts with a zero byte
 * (an abstract socket). Returns 0 or the errno. Node has no datagram sockets of this family.
 */
export function sendDatagram(address: Buffer, payload: Buffer, fds: readonly number[]): number {
  const socket: number = cSocket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0)
  if (socket < 0) return errno()
  try {
    const name = Buffer.alloc(2 + address.length)
    name.writeUInt16LE(AF_UNIX, 0)
    address.copy(name, 2)
    const message = {
      name,
      namelen: name.length,
      iov: [{ base: payload, len: payload.length }],
      iovlen: 1,
      control: fds.length === 0 ? null : rights(fds),
      controllen: fds.length === 0 ? 0 : CMSG_HEADER_BYTES + padded(4 * fds.length),
      flags: 0,
    }
    return cSendmsg(socket, message, MSG_NOSIGNAL) < 0 ? errno() : 0
  } finally {
    closeSync(socket)
  }
}

function rights(fds: readonly number[]): Buffer {
  const control = Buffer.alloc(CMSG_HEADER_BYTES + padded(4 * fds.length))
  control.writeBigUInt64LE(BigInt(CMSG_HEADER_BYTES + 4 * fds.length), 0)
  control.writeInt32LE(SOL_SOCKET, 8)
  control.writeInt32LE(SCM_RIGHTS, 12)
  fds.forEach((fd, at) => control.writeInt32LE(fd, CMSG_HEADER_BYTES + 4 * at))
  return control
}

function padded(bytes: number): number {
  return (bytes + 7) & ~7
}

const cSocketpair = late('int socketpair(int domain, int type, int protocol, _Out_ int *pair)')
const cRecvmsg = late('long recvmsg(int fd, msghdr *message, int flags)')
const SOCK_STREAM_CLOEXEC = 1 | 0x8_0000
const MSG_DONTWAIT = 0x40
const MSG_CMSG_CLOEXEC = 0x4000_0000

/** socketpair(2), two ends of one stream that no program we start inherits unless told. Throws FLIST_SYSTEM. */
export function socketPair(): readonly [number, number] {
  const pair = [0, 0]
  if (cSocketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, pair) < 0) throw failed('FLIST_SYSTEM', 'make a pair of sockets')
  return [pair[0] ?? -1, pair[1] ?? -1]
}

/** The descriptor that another program has sent on a socket, where it has. Never waits. */
export function receiveDescriptor(socket: number): number | undefined {
  const payload = Buffer.alloc(1)
  const control = Buffer.alloc(CMSG_HEADER_BYTES + padded(4))
  const message = {
    name: null,
    namelen: 0,
    iov: [{ base: payload, len: payload.length }],
    iovlen: 1,
    control,
    controllen: control.length,
    flags: 0,
  }
  if (cRecvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) return undefined
  const isRights = control.readInt32LE(8) === SOL_SOCKET && control.readInt32LE(12) === SCM_RIGHTS
  return isRights ? control.readInt32LE(CMSG_HEADER_BYTES) : undefined
}
