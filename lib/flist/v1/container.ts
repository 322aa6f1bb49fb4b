import { createReadStream, createWriteStream } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import { displayBytes, FlistError, LIMITS, systemCode } from '../../base/index.ts'
import { beyondLimit, damaged } from '../damage.ts'
import { ROUTER_BYTES_MAX } from './routes.ts'

export interface UnpackedV1 {
  /** The database: `temporaryPath`, or the archive itself where that is a bare database. */
  databasePath: string
  routerYaml: Buffer | undefined
}

const DATABASE_NAME = 'flistdb.sqlite3'
const ROUTER_NAME = 'router.yaml'
const GZIP_MAGIC = 0x1f8b
const SQLITE_MAGIC = 'SQLite format 3\0'
/** Bytes that any archive may unpack to; above them the ratio counts. */
const FREE_BYTES = 64 * 1024 * 1024

/**
 * Takes the database and router.yaml out of a v1 archive: tar in gzip, plain tar, or a bare database (which stays where it is).
 * `temporaryPath` must not exist; it is the caller's to remove, and is gone when this throws FLIST_ARCHIVE_DAMAGED, FLIST_LIMIT,
 * FLIST_NOT_FOUND, FLIST_SYSTEM, FLIST_INTERRUPTED.
 */
export async function unpackV1(archivePath: string, temporaryPath: string, signal: AbortSignal): Promise<UnpackedV1> {
  try {
    const { magic, bytes } = await look(archivePath)
    if (bytes > LIMITS.archiveBytesMax)
      throw beyondLimit('this archive', `it has more than ${LIMITS.archiveBytesMax} bytes`)
    if (magic.equals(Buffer.from(SQLITE_MAGIC, 'latin1'))) return { databasePath: archivePath, routerYaml: undefined }
    const packed = magic.length >= 2 && magic.readUInt16BE(0) === GZIP_MAGIC
    const routerYaml = await unpackTar(archivePath, bytes, packed, temporaryPath, signal)
    return { databasePath: temporaryPath, routerYaml }
  } catch (error) {
    // What was there before is not ours.
    if (systemCode(error) !== 'EEXIST') await rm(temporaryPath, { force: true })
    throw explain(error, archivePath, signal)
  }
}

async function look(path: string): Promise<{ magic: Buffer; bytes: number }> {
  await using file = await open(path, 'r')
  const { buffer, bytesRead } = await file.read(Buffer.alloc(SQLITE_MAGIC.length), 0, SQLITE_MAGIC.length, 0)
  return { magic: buffer.subarray(0, bytesRead), bytes: (await file.stat()).size }
}

async function unpackTar(
  path: string,
  bytes: number,
  packed: boolean,
  temporaryPath: string,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const found: { routerYaml?: Buffer; database: boolean } = { database: false }
  let members = 0
  // The tar reader may end before the last member is written.
  let taking = Promise.resolve()
  const tar = extract()
  tar.on('entry', (header, stream, next) => {
    // Destroyed with the tar, a member nobody reads yet would throw into the void; the pipeline has the error.
    stream.on('error', () => {})
    members += 1
    if (members > LIMITS.tarMembersMax) {
      next(beyondLimit('this archive', `it has more than ${LIMITS.tarMembersMax} members`))
      return
    }
    taking = takeMember(header, stream, found, temporaryPath)
    taking.then(() => next(), next)
  })
  const source = createReadStream(path, { highWaterMark: 256 * 1024 })
  const most = Math.min(LIMITS.unpackedArchiveBytesMax, FREE_BYTES + (packed ? bytes * LIMITS.unpackRatioMax : bytes))
  try {
    if (packed) {
      const gunzip = createGunzip({ chunkSize: 256 * 1024 })
      await pipeline(source, gunzip, bounded(most), tar, { signal })
      // Node stops at what is no further gzip member, without a word.
      if (gunzip.bytesWritten !== bytes) throw damaged('this archive', 'something follows the end of its gzip data')
    } else {
      await pipeline(source, bounded(most), tar, { signal })
    }
  } finally {
    // Whoever removes the temporary file must not find it written again.
    await Promise.allSettled([taking])
  }
  await taking
  if (!found.database) throw damaged('this archive', `it has no member "${DATABASE_NAME}", as each v1 archive has`)
  return found.routerYaml
}

function bounded(most: number): (source: AsyncIterable<Buffer>) => AsyncGenerator<Buffer> {
  return async function* (source) {
    let total = 0
    for await (const chunk of source) {
      total += chunk.length
      if (total > most) throw beyondLimit('this archive', `it unpacks to more than ${most} bytes`)
      yield chunk
    }
  }
}

async function takeMember(
  header: Header,
  stream: AsyncIterable<unknown>,
  found: { routerYaml?: Buffer; database: boolean },
  temporaryPath: string,
): Promise<void> {
  const name = memberName(header.name)
  const isFile = header.type === 'file' || header.type === 'contiguous-file'
  if (isFile && name === DATABASE_NAME) {
    if (found.database) throw damaged('this archive', `it has two members "${DATABASE_NAME}"`)
    found.database = true
    await pipeline(stream, createWriteStream(temporaryPath, { flags: 'wx', mode: 0o600 }))
  } else if (isFile && name === ROUTER_NAME) {
    if (found.routerYaml !== undefined) throw damaged('this archive', `it has two members "${ROUTER_NAME}"`)
    found.routerYaml = await small(stream, header.size ?? 0)
  } else {
    for await (const chunk of stream) void chunk
  }
}

/** The name without "./". Throws where it would lead elsewhere, also for members nobody wants: no writer makes such names. */
function memberName(name: string): string {
  const parts = name.split('/')
  if (name.startsWith('/') || parts.includes('..')) {
    throw damaged('this archive', `its member "${displayBytes(Buffer.from(name))}" leads outside`)
  }
  return parts.filter((part) => part !== '' && part !== '.').join('/')
}

async function small(stream: AsyncIterable<unknown>, bytes: number): Promise<Buffer> {
  if (bytes > ROUTER_BYTES_MAX) throw beyondLimit(`"${ROUTER_NAME}"`, `it has more than ${ROUTER_BYTES_MAX} bytes`)
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Errors of zlib and of the tar reader speak of the archive; errors of the system of this machine. */
function explain(error: unknown, path: string, signal: AbortSignal): unknown {
  if (error instanceof FlistError || !(error instanceof Error)) return error
  const shown = displayBytes(Buffer.from(path))
  if (signal.aborted)
    return new FlistError('FLIST_INTERRUPTED', `Cannot unpack "${shown}": interrupted`, { cause: error })
  const code = systemCode(error)
  if (code === 'ENOENT' || code === 'EISDIR') {
    return new FlistError('FLIST_NOT_FOUND', `Cannot read "${shown}": there is no such file`, { cause: error })
  }
  if ('syscall' in error)
    return new FlistError('FLIST_SYSTEM', `Cannot unpack "${shown}": ${error.message}`, { cause: error })
  return damaged(`"${shown}"`, error.message, error)
}
