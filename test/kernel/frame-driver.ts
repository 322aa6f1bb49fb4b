import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { errnoName, Log } from '../../lib/base/index.ts'
import { type FlistIndex, locateIndex, openIndex } from '../../lib/flist/index.ts'
import { Answers, Counters, Dispatcher, type MissSink } from '../../lib/kernel/index.ts'
import { decodeBlock, prepareCodec, segmentPath } from '../../lib/store/index.ts'
import { BlockTable, CachedReads, SegmentFiles, Tree } from '../../lib/vfs/index.ts'
import { IN_HEADER, OPCODE, OUT_HEADER, type OpcodeName } from '../../lib/wire/index.ts'
import type { SampleArchive } from '../vfs/sample-archive.ts'

const BLOCK = 512 * 1024

export interface Reply {
  /** 0, or the errno. */
  readonly errno: number
  readonly body: Buffer
}

export interface DriverOptions {
  /** Blocks are never fetched: reads stay without an answer. */
  readonly stalled?: boolean
  readonly posixAcl?: boolean
}

/** The answering code of a mount without kernel and threads: frames in, frames out, blocks fetched at once. */
export class FrameDriver implements MissSink {
  readonly index: FlistIndex
  readonly answers: Answers
  readonly dispatcher: Dispatcher
  readonly counters = new Counters()
  readonly inits: unknown[] = []
  readonly interrupts: bigint[] = []
  /** Reads that the fetch thread was given. */
  readonly misses: { unique: bigint; row: number; offset: number; bytes: number }[] = []
  readonly #table: BlockTable
  readonly #files: SegmentFiles
  readonly #dir: string
  /** Complaints about requests that no kernel sends go nowhere. */
  readonly #null = openSync('/dev/null', 'w')
  readonly #storeDir: string
  readonly #stalled: boolean
  #unique = 1n
  #segment = 0

  static async open(sample: SampleArchive, options: DriverOptions = {}): Promise<FrameDriver> {
    await prepareCodec()
    const dir = mkdtempSync(join(tmpdir(), 'flistfs-frames-'))
    const { indexPath, digest } = await locateIndex(sample.archivePath, { cacheDir: dir }, new AbortController().signal)
    return new FrameDriver(openIndex(indexPath, digest), dir, sample.storeDir, options)
  }

  private constructor(index: FlistIndex, dir: string, storeDir: string, options: DriverOptions) {
    this.index = index
    this.#dir = dir
    this.#storeDir = storeDir
    this.#stalled = options.stalled ?? false
    this.#table = new BlockTable(index.blockCount)
    this.#files = new SegmentFiles(dir)
    this.answers = new Answers(new Tree(index), new CachedReads(index, this.#table, this.#files), this, false)
    this.dispatcher = new Dispatcher({
      answers: this.answers,
      counters: this.counters,
      wish: { posixAcl: options.posixAcl ?? false, passthrough: false, idmap: true },
      log: new Log(this.#null),
      openFiles: undefined,
      onInit: (agreed) => this.inits.push(agreed),
      onInterrupt: (lo, hi) => this.interrupts.push((BigInt(hi) << 32n) | BigInt(lo)),
    })
  }

  /** Answers the frame; undefined where no reply is due. A read that misses is answered once its blocks are here. */
  send(frame: Buffer): Reply | undefined {
    const { frame: into, reply } = this.answers
    into.bytes.set(frame)
    const missesBefore = this.misses.length
    let bytes = this.dispatcher.respond(frame.length)
    if (bytes < 0) {
      if (this.misses.length === missesBefore) throw new Error('the fetch thread heard nothing of this read')
      if (this.#stalled) return undefined
      this.#fetch(this.misses.at(-1)?.row ?? 0)
      bytes = this.dispatcher.respond(frame.length)
      if (bytes < 0) throw new Error('not cached although fetched')
    }
    if (bytes === 0) return undefined
    const out = Buffer.from(reply.bytes.subarray(0, bytes))
    if (out.readUInt32LE(OUT_HEADER.len) !== bytes) throw new Error('len of the reply is wrong')
    if (out.readBigUInt64LE(OUT_HEADER.unique) !== frame.readBigUInt64LE(IN_HEADER.unique)) throw new Error('unique')
    return { errno: -out.readInt32LE(OUT_HEADER.error), body: out.subarray(OUT_HEADER.size) }
  }

  /** Sends a request made here; throws an error with the errno's name as code. */
  ask(name: OpcodeName, nodeid: bigint, body: Buffer = Buffer.alloc(0)): Buffer {
    const reply = this.send(frameOf(OPCODE[name], nodeid, body, (this.#unique += 2n)))
    if (reply === undefined) throw new Error(`no reply to ${name}`)
    if (reply.errno !== 0) throw Object.assign(new Error(`${name}: ${reply.errno}`), { code: errnoName(reply.errno) })
    return reply.body
  }

  read(uniqueLo: number, uniqueHi: number, row: number, offset: number, bytes: number): void {
    this.misses.push({ unique: (BigInt(uniqueHi) << 32n) | BigInt(uniqueLo), row, offset, bytes })
  }

  reached(): void {
    // Nothing is fetched ahead here.
  }

  /** Puts all blocks of a file into a segment, each at a place of its own: reads must join them. */
  #fetch(row: number): void {
    const { index } = this
    const first = index.first[row] ?? 0
    for (let nth = 0; nth < (index.count[row] ?? 0); nth += 1) {
      const at = (first + nth) * index.hashBytes
      const id = index.ids.subarray(at, at + index.hashBytes)
      const hex = id.toString('hex')
      const stored = readFileSync(join(this.#storeDir, hex.slice(0, 2), hex))
      const key = index.keys.subarray(at, at + index.hashBytes)
      const plainBytes = Math.min(BLOCK, (index.size[row] ?? 0) - nth * BLOCK)
      const plain = decodeBlock({ format: index.format, id, key, plainBytes }, stored)
      // Odd files: blocks behind each other in one segment; even ones: a segment each, behind a gap.
      const adjacent = row % 2 === 1
      if (!adjacent || nth === 0) this.#segment += 1
      const offset = adjacent ? nth * BLOCK : 64 * (nth + 1)
      const path = segmentPath(this.#dir, this.#segment)
      mkdirSync(dirname(path), { recursive: true })
      if (adjacent) writeFileSync(path, plain, { flag: 'a' })
      else writeFileSync(path, Buffer.concat([Buffer.alloc(offset, 0xee), plain]))
      this.#table.set(first + nth, { segment: this.#segment, offset, bytes: plain.length })
    }
  }

  close(): void {
    this.#files.close()
    closeSync(this.#null)
    this.index.close()
    rmSync(this.#dir, { recursive: true })
  }
}

/** A request as the kernel sends it. */
export function frameOf(opcode: number, nodeid: bigint, body: Buffer, unique = 2n): Buffer {
  const frame = Buffer.alloc(IN_HEADER.size + body.length)
  frame.writeUInt32LE(frame.length, IN_HEADER.len)
  frame.writeUInt32LE(opcode, IN_HEADER.opcode)
  frame.writeBigUInt64LE(unique, IN_HEADER.unique)
  frame.writeBigUInt64LE(nodeid, IN_HEADER.nodeid)
  frame.writeUInt32LE(process.pid, IN_HEADER.pid)
  body.copy(frame, IN_HEADER.size)
  return frame
}
