import { closeSync, fstatSync, openSync } from 'node:fs'
import { errnoName, LIMITS, type Log } from '../base/index.ts'
import { errno, FUSE_IOCTL, ioctl } from '../system/index.ts'
import type { RowOrErrno, Tree } from '../vfs/index.ts'
import { BACKING_MAP, FOPEN, IN_HEADER, OPEN_OUT, OUT_HEADER, type Words } from '../wire/index.ts'

const BODY_WORD = OUT_HEADER.size / 4

/** Knows the files that lie whole on the disk. */
export interface WholeFiles {
  readonly whole: ReadonlyMap<number, string>
  /** Asks to make this row's file whole, if all of it is there; `whole` has it later. */
  opened(row: number): void
}

export interface Open {
  count: number
  /** 0: read through us. */
  backingId: number
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
    let open = this.#opens.get(row)
    if (open === undefined) {
      open = { count: 0, backingId: this.#back(row) }
      this.#opens.set(row, open)
    }
    open.count += 1
    this.#keep(row)
    const word = BODY_WORD
    reply.u32.fill(0, word, word + OPEN_OUT.size / 4)
    reply.u32[word + OPEN_OUT.openFlags / 4] = open.backingId > 0 ? FOPEN.passthrough : FOPEN.keepCache
    reply.u32[word + OPEN_OUT.backingId / 4] = open.backingId
    return OPEN_OUT.size
  }

  release(frame: Words): number {
    const row = this.#row(frame)
    const open = row < 0 ? undefined : this.#opens.get(row)
    if (open === undefined) return 0
    open.count -= 1
    if (open.count === 0) this.#opens.delete(row)
    this.#keep(row)
    if (open.count > 0) return 0
    if (open.backingId > 0) {
      const argument = Buffer.alloc(4)
      argument.writeUInt32LE(open.backingId)
      ioctl(this.#fd, FUSE_IOCTL.backingClose, argument)
    }
    return 0
  }

  /** Only large files are ever read by the kernel itself; of the others a successor need not know. */
  #keep(row: number): void {
    const { size } = this.#tree.index
    if ((size[row] ?? 0) < LIMITS.ownSegmentBytesMin) return
    this.#keeper.save([...this.#opens].filter(([opened]) => (size[opened] ?? 0) >= LIMITS.ownSegmentBytesMin))
  }

  #row(frame: Words): RowOrErrno {
    return this.#tree.rowOf(frame.u32[IN_HEADER.nodeid / 4] ?? 0, frame.u32[IN_HEADER.nodeid / 4 + 1] ?? 0)
  }

  /** A backing id for the row, or 0 where its content is not whole here, or the kernel refuses. */
  #back(row: number): number {
    const bytes = this.#tree.index.size[row] ?? 0
    if (bytes < LIMITS.ownSegmentBytesMin) return 0
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
    this.#log.warn('the kernel refused passthrough', { row, errno: why })
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
