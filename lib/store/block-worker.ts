import { parentPort, workerData } from 'node:worker_threads'
import { describeError, FlistError, invariant, LIMITS } from '../base/index.ts'
import {
  closeFd,
  errno,
  FileStat,
  hasXattrs,
  OPEN_FILE,
  openAt,
  pread,
  readSoon,
  STAMP_BYTES,
} from '../system/index.ts'
import { constants } from 'node:fs'
import {
  type BlockJob,
  type BlockReply,
  type BlockThreadData,
  PIECE,
  RESULT,
  RESULT_FLAG,
  resultBytes,
  STATE,
} from './block-jobs.ts'
import { prepareCodec } from './codec-tools.ts'
import { encodeBlock } from './codec.ts'
import { DirSink } from './sink-dir.ts'

// One thread of `BlockPool`: pieces of files in; ids and keys out, with the blocks stored where the store is a folder.

invariant(parentPort !== null, 'block-worker.ts runs in a worker thread')
const port = parentPort
const { format, folders, wanted } = workerData as BlockThreadData
const plain = Buffer.allocUnsafeSlow(LIMITS.blockBytesMax)
const stat = new FileStat()
const stamp = Buffer.alloc(STAMP_BYTES)
const sinks = folders.map(({ start, end, name, path }) => ({ start, end, sink: new DirSink(name, path) }))

/** The results of one job, filled piece by piece. */
class Results {
  readonly bytes: Buffer
  readonly stored: Uint8Array[] = []
  #at = 0

  constructor(count: number) {
    // Of its own: it leaves this thread.
    this.bytes = Buffer.from(new ArrayBuffer(count * resultBytes(format)))
  }

  fail(state: number, number: number): void {
    this.bytes[this.#at + RESULT.state] = state
    this.bytes.writeUInt32LE(number, this.#at + RESULT.errno)
    this.#at += resultBytes(format)
  }

  add(block: Buffer, hasXattrs = false): void {
    const { id, key, stored } = encodeBlock(format, block)
    const first = id[0] ?? 0
    let flags: number = hasXattrs ? RESULT_FLAG.xattrs : 0
    for (const { start, end, sink } of sinks) {
      if (first >= start && first <= end && sink.store(id, stored)) flags |= RESULT_FLAG.fresh
    }
    if (wanted[first] === 1) {
      flags |= RESULT_FLAG.returned
      this.stored.push(stored.byteLength === stored.buffer.byteLength ? stored : new Uint8Array(stored))
    }
    this.bytes[this.#at + RESULT.flags] = flags
    this.bytes.writeUInt32LE(stored.length, this.#at + RESULT.storedBytes)
    id.copy(this.bytes, this.#at + RESULT.size)
    key.copy(this.bytes, this.#at + RESULT.size + id.length)
    this.#at += resultBytes(format)
  }
}

/** Files that are open at a time. */
const WINDOW = 32

interface OpenPiece {
  /** Its record. */
  readonly at: number
  /** Below 0 where the file cannot be opened: `-errno`. */
  readonly fd: number
}

function readFiles(records: Buffer, count: number): Results {
  const results = new Results(count)
  for (let at = 0, done = 0; done < count; done += WINDOW) {
    at = readWindow(records, at, Math.min(WINDOW, count - done), results)
  }
  return results
}

/** Opens some files before it reads the first: so a disk has many to read at a time. Returns where the next record begins. */
function readWindow(records: Buffer, from: number, count: number, results: Results): number {
  const pieces: OpenPiece[] = []
  let at = from
  for (let piece = 0; piece < count; piece += 1) {
    const nameEnd = at + PIECE.size + records.readUInt16LE(at + PIECE.nameBytes)
    pieces.push({ at, fd: openPiece(records, at, records.subarray(at + PIECE.size, nameEnd)) })
    at = nameEnd
  }
  let closed = 0
  try {
    for (const { at, fd } of pieces) {
      if (fd < 0) results.fail(STATE.failed, -fd)
      else readPiece(records, at, fd, results)
      if (fd >= 0) closeFd(fd)
      closed += 1
    }
  } finally {
    for (const { fd } of pieces.slice(closed)) if (fd >= 0) closeFd(fd)
  }
  return at
}

function openPiece(records: Buffer, at: number, name: Buffer): number {
  const flags = records.readUInt16LE(at + PIECE.follow) === 1 ? OPEN_FILE & ~constants.O_NOFOLLOW : OPEN_FILE
  const fd = openAt(records.readInt32LE(at + PIECE.dir), name, flags)
  if (fd >= 0) readSoon(fd, records.readDoubleLE(at + PIECE.offset), records.readUInt32LE(at + PIECE.bytes))
  return fd
}

/** A piece counts only where the file is the same before and after it was read. */
function readPiece(records: Buffer, at: number, fd: number, results: Results): void {
  const bytes = records.readUInt32LE(at + PIECE.bytes)
  const offset = records.readDoubleLE(at + PIECE.offset)
  const expected = records.subarray(at + PIECE.stamp, at + PIECE.stamp + STAMP_BYTES)
  let done = 0
  while (done < bytes) {
    const got = pread(fd, done === 0 ? plain : plain.subarray(done), bytes - done, offset + done)
    if (got < 0) return results.fail(STATE.failed, errno())
    if (got === 0) break
    done += got
  }
  const failed = stat.of(fd)
  if (failed < 0) return results.fail(STATE.failed, -failed)
  stat.stamp(stamp, 0)
  if (done < bytes || !stamp.equals(expected)) return results.fail(STATE.changed, 0)
  // Asked of the open file this costs a tenth of what it costs by a path.
  results.add(plain.subarray(0, bytes), hasXattrs(fd))
}

function encodePieces(pieces: Uint32Array, bytes: Buffer): Results {
  const results = new Results(pieces.length / 2)
  for (let at = 0; at < pieces.length; at += 2) {
    const from = pieces[at] ?? 0
    results.add(bytes.subarray(from, from + (pieces[at + 1] ?? 0)))
  }
  return results
}

function run(job: BlockJob): Results {
  if (job.kind === 'files')
    return readFiles(Buffer.from(job.records.buffer, job.records.byteOffset, job.records.length), job.count)
  if (job.kind === 'bytes') return encodePieces(job.pieces, Buffer.from(job.bytes))
  for (const { sink } of sinks) sink.sync()
  return new Results(0)
}

function answer(job: BlockJob): void {
  const { number } = job
  try {
    const { bytes, stored } = run(job)
    const moved = stored.map((each) => each.buffer as ArrayBuffer)
    port.postMessage({ number, results: bytes, stored } satisfies BlockReply, [bytes.buffer as ArrayBuffer, ...moved])
  } catch (error) {
    const failure =
      error instanceof FlistError
        ? { ...error.toJSON() }
        : { code: undefined, message: describeError(error), hint: undefined }
    port.postMessage({ number, failure } satisfies BlockReply)
  }
}

async function main(): Promise<void> {
  await prepareCodec()
  port.on('message', (job: BlockJob | 'close') => {
    if (job !== 'close') return answer(job)
    for (const { sink } of sinks) sink.close()
    port.close()
  })
}

void main()
