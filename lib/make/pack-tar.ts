import { constants, createReadStream, fstatSync, openSync, statSync } from 'node:fs'
import { Socket } from 'node:net'
import { addAbortSignal, type Readable } from 'node:stream'
import { displayBytes, FlistError, systemCode, systemReason } from '../base/index.ts'
import { decompressed, type ImageInode, ImageTree, TarReader, type TarEntry } from '../oci/index.ts'
import { ArchiveMaker } from './archive-maker.ts'
import { excluder } from './exclude.ts'
import { addTree } from './image-entries.ts'
import type { PackRequest, PackResult } from './pack.ts'
import { Problems } from './problems.ts'

export type PackTarRequest = Omit<PackRequest, 'base' | 'oneFileSystem' | 'follow'>

/** The name of standard input. */
const STDIN = '-'
const STDIN_PATH = '/proc/self/fd/0'

/**
 * Packs a tar, plain or compressed by gzip or zstd: a file, or `-` for standard input. Names that come again replace what they
 * were, as when it is unpacked; names that would lead outside are refused. Same tar, same bytes. Throws what `packFolder` throws, and
 * FLIST_IMAGE_DAMAGED for a tar that is none.
 */
export async function packTar(request: PackTarRequest, signal: AbortSignal): Promise<PackResult> {
  const { source } = request
  const where = source === STDIN ? 'the tar on standard input' : `tar "${displayBytes(Buffer.from(source))}"`
  const problems = new Problems()
  const tree = new ImageTree({ whiteouts: false })
  tree.beginLayer(0, where)
  let entries = 0
  const size = source === STDIN ? 0 : (statSync(source, { throwIfNoEntry: false })?.size ?? 0)
  let read = 0
  let plain = 0
  const counted = async function* (content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of content) {
      plain += piece.length
      yield piece
    }
  }
  const onBytes = (bytes: number): void => {
    // A tar that is compressed does not say how much is in it: as much again, for each byte, as was in those that were read.
    const total = size === 0 || read === 0 ? undefined : Math.round((plain * size) / read)
    request.onProgress?.({ bytes, total, entries })
  }
  const input = bytesOf(source, (bytes) => (read += bytes), signal)
  const madeOf = source === STDIN ? STDIN_PATH : source
  await using maker = await ArchiveMaker.open({ ...request, madeOf, onBytes }, signal)
  const reader = new TarReader(decompressed(input, where), { where, globals: true })
  /** By number of the entry. */
  const contents = new Map<number, number>()
  try {
    const admits = admission(request, problems)
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      signal.throwIfAborted()
      if (!admits(entry)) continue
      change(entry, request)
      tree.apply(entry, entries)
      if (entry.type === 'file' && entry.size > 0) {
        contents.set(entries, await maker.writer.addContent(entry.size, counted(reader.content())))
      }
      entries += 1
    }
    await reader.drain()
  } finally {
    await reader.close()
  }
  await fill(maker, tree, contents)
  const made = await maker.finish(signal)
  return { ...made, reused: 0, problemCount: problems.count, problems: problems.list }
}

async function* bytesOf(source: string, onRead: (bytes: number) => void, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    const stream = source === STDIN ? process.stdin : openTar(source)
    // Who writes into a pipe may say nothing for long.
    addAbortSignal(signal, stream)
    for await (const piece of stream as AsyncIterable<Buffer>) {
      onRead(piece.length)
      yield piece
    }
  } catch (cause) {
    signal.throwIfAborted()
    const code = systemCode(cause)
    const isAbsent = code === 'ENOENT' || code === 'ENOTDIR'
    throw new FlistError(
      isAbsent ? 'FLIST_NOT_FOUND' : 'FLIST_SYSTEM',
      `Cannot pack "${source}": ${systemReason(cause)}`,
      {
        hint: 'Name a folder that you may read, or a tar',
        cause,
      },
    )
  }
}

/** A pipe is waited for without a thread: one that hangs in open(2) or read(2) hears no interrupt, and would not let the process end. */
function openTar(source: string): Readable {
  const fd = openSync(source, constants.O_RDONLY | constants.O_NONBLOCK)
  if (fstatSync(fd).isFIFO()) return new Socket({ fd, readable: true, writable: false })
  return createReadStream(source, { fd, highWaterMark: 256 * 1024 })
}

/** Whether an entry is wanted. A link to what is left out cannot be made, and is named. */
function admission({ exclude = [] }: PackTarRequest, problems: Problems): (entry: TarEntry) => boolean {
  const excludes = excluder(exclude)
  if (excludes === undefined) return () => true
  /** Of the path, or of a folder above it. */
  const isExcluded = (name: Buffer): boolean => {
    const parts = name
      .toString('latin1')
      .split('/')
      .filter((part) => part !== '' && part !== '.')
    return parts.some((_, at) => excludes(Buffer.from(parts.slice(0, at + 1).join('/'), 'latin1')))
  }
  return (entry) => {
    if (isExcluded(entry.name)) return false
    if (entry.type !== 'hardlink' || !isExcluded(entry.target)) return true
    problems.add(entry.name, 'refused', 'it is a hard link to what is left out')
    return false
  }
}

function change(entry: TarEntry, { uid, gid, time }: PackTarRequest): void {
  if (uid !== undefined) entry.uid = uid
  if (gid !== undefined) entry.gid = gid
  if (time === undefined) return
  entry.mtime = time.seconds
  entry.mtimeNs = time.nanoseconds
}

async function fill(maker: ArchiveMaker, tree: ImageTree, contents: ReadonlyMap<number, number>): Promise<void> {
  const entries: ReadonlyMap<ImageInode, number> = addTree(maker, tree)
  await maker.writer.drain()
  for (const [inode, entry] of entries) {
    const content = inode.type === 'file' ? contents.get(inode.entry) : undefined
    if (content !== undefined) maker.addBlocks(entry, maker.writer.refsOf(content))
  }
}
