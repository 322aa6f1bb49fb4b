import { closeSync, fstatSync, openSync } from 'node:fs'
import { errnoName, LIMITS, type Log } from '../base/index.ts'
import { errno, FUSE_IOCTL, ioctl } from '../system/index.ts'
import type { RowOrErrno, Tree } from '../vfs/index.ts'
import { BACKING_MAP, FOPEN, IN_HEADER, OPEN_OUT, OUT_HEADER, RELEASE_IN, type Words } from '../wire/index.ts'

const BODY_WORD = OUT_HEADER.size / 4
/** The kernel sets the highest bit of a request's number when it repeats it for another server (FUSE_UNIQUE_RESEND). */
const RESEND_BIT = 0x8000_0000
const TWO_32 = 2 ** 32

/** Knows the files that lie whole on the disk. */
export interface WholeFiles {
  readonly whole: ReadonlyMap<number, string>
  /** Asks to make this row's file whole, if all of it is there; `whole` has it later. */
  opened(row: number): void
}

export interface Open {
  /** File handles: the numbers of the OPEN requests, so that a request that comes twice counts once. */
  readonly handles: number[]
  /** 0: read through us. */
  readonly backingId: number
}

/** Keeps the opens of large files for a server that comes after this one: the kernel knows them still. */
export interface OpensKeeper {
  load(): readonly (readonly [row: number, open: Open])[]
  save(opens: readonly (readonly [row: number, open: Open])[]): void
}

/**
 * OPEN and RELEASE where the kernel may read whole cached files itself (`--passthrough`). All opens of one inode must be
 * of one kind (the kernel answers EIO otherwise), so the first one decides until the last is closed.
 * Source: Documentation/filesystems/fuse/fuse-passthrough.rst.
 */
export class OpenFiles {
  readonly #fd: number
  readonly #tree: Tree
  readonly #whole: WholeFiles
  readonly #log: Log
  readonly #keeper: OpensKeeper
  readonly #opens: Map<number, Open>
  /** What was said of it: a kernel or user that may not is refused at each open. */
  readonly #refusals = new Set<string>()

  constructor(fd: number, tree: Tree, whole: WholeFiles, keeper: OpensKeeper, log: Log) {
    this.#fd = fd
    this.#tree = tree
    this.#whole = whole
    this.#log = log
    this.#keeper = keeper
    this.#opens = new Map(keeper.load())
  }

  open(frame: Words, reply: Words): number {
    const row = this.#row(frame)
    if (row < 0) return row
    const [lo, hi] = [frame.u32[IN_HEADER.unique / 4] ?? 0, (frame.u32[IN_HEADER.unique / 4 + 1] ?? 0) & ~RESEND_BIT]
    const backingId = this.#isLarge(row) ? this.#enter(row, hi * TWO_32 + lo) : 0
    reply.u32.fill(0, BODY_WORD, BODY_WORD + OPEN_OUT.size / 4)
    reply.u32[BODY_WORD + OPEN_OUT.fh / 4] = lo
    reply.u32[BODY_WORD + OPEN_OUT.fh / 4 + 1] = hi
    reply.u32[BODY_WORD + OPEN_OUT.openFlags / 4] = backingId > 0 ? FOPEN.passthrough : FOPEN.keepCache
    reply.u32[BODY_WORD + OPEN_OUT.backingId / 4] = backingId
    return OPEN_OUT.size
  }

  release(frame: Words): number {
    const row = this.#row(frame)
    const open = row < 0 ? undefined : this.#opens.get(row)
    const word = (IN_HEADER.size + RELEASE_IN.fh) / 4
    const at = open?.handles.indexOf((frame.u32[word + 1] ?? 0) * TWO_32 + (frame.u32[word] ?? 0)) ?? -1
    if (open === undefined || at < 0) return 0
    open.handles.splice(at, 1)
    if (open.handles.length === 0) this.#opens.delete(row)
    this.#keeper.save([...this.#opens])
    if (open.handles.length > 0 || open.backingId === 0) return 0
    const argument = Buffer.alloc(4)
    argument.writeUInt32LE(open.backingId)
    ioctl(this.#fd, FUSE_IOCTL.backingClose, argument)
    return 0
  }

  /** Notes one more open of a large file; gives its backing id, or 0. */
  #enter(row: number, handle: number): number {
    const open = this.#opens.get(row) ?? { handles: [], backingId: this.#back(row) }
    if (!open.handles.includes(handle)) open.handles.push(handle)
    this.#opens.set(row, open)
    this.#keeper.save([...this.#opens])
    return open.backingId
  }

  /** Only large files are ever read by the kernel itself; of the others nobody need know. */
  #isLarge(row: number): boolean {
    return (this.#tree.index.size[row] ?? 0) >= LIMITS.ownSegmentBytesMin
  }

  #row(frame: Words): RowOrErrno {
    return this.#tree.rowOf(frame.u32[IN_HEADER.nodeid / 4] ?? 0, frame.u32[IN_HEADER.nodeid / 4 + 1] ?? 0)
  }

  /** A backing id for the row, or 0 where its content is not whole here, or the kernel refuses. */
  #back(row: number): number {
    const bytes = this.#tree.index.size[row] ?? 0
    const path = this.#whole.whole.get(row)
    const file = path === undefined ? -1 : openSized(path, bytes)
    if (file < 0) {
      this.#whole.opened(row)
      return 0
    }
    const map = Buffer.alloc(BACKING_MAP.size)
    map.writeInt32LE(file, BACKING_MAP.fd)
    const id = ioctl(this.#fd, FUSE_IOCTL.backingOpen, map)
    const why = id > 0 ? '' : errnoName(errno())
    closeSync(file)
    if (id > 0) return id
    if (!this.#refusals.has(why)) {
      this.#log.warn('the kernel refused passthrough: such files are read through the server', { errno: why })
    }
    this.#refusals.add(why)
    return 0
  }
}

/** A descriptor, or -1: a file shorter or longer than the archive says would show through. */
function openSized(path: string, bytes: number): number {
  try {
    const fd = openSync(path, 'r')
    if (fstatSync(fd).size === bytes) return fd
    closeSync(fd)
  } catch {
    // Evicted meanwhile.
  }
  return -1
}
