import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { FlistError, LIMITS, makeFolder, systemCode, systemReason } from '../base/index.ts'
import { giveBackMemory } from '../system/index.ts'
import { hashArchive, readHead, stampArchive } from './archive-file.ts'
import type { FileStamp } from './archive-file.ts'
import { releaseLock, takeLock } from './compile-lock.ts'
import { checkIndex } from './index-file.ts'
import { LAYOUT_VERSION } from './layout.ts'
import { HEAD_BYTES, magicOf, unknownFormat } from './magic.ts'

export interface LocateOptions {
  cacheDir: string
  /** SHA-256 that the archive must have, hex. */
  digest?: string | undefined
  /** Rows read so far, while an index is made. */
  onProgress?: ((rows: number) => void) | undefined
}

export interface LocatedIndex {
  indexPath: string
  /** SHA-256 of the archive, hex. */
  digest: string
}

/** A change this soon before the hash was begun could be followed by one with the same time. */
const SETTLED_MS = 2_000
const POLL_MS = 25
const DIGEST_TEXT = /^[0-9a-f]{64}$/

/** Where the index of the archive with this digest lies. */
export function indexPathOf(cacheDir: string, digest: string): string {
  return join(cacheDir, 'v1', 'index', String(LAYOUT_VERSION), `${digest}.idx`)
}

/**
 * Finds the index of an archive, and makes it where it is absent or damaged: one process does, others wait for it.
 * With the index present this is a few system calls. Throws FLIST_DIGEST_MISMATCH for an archive that is not the pinned
 * one, FLIST_FORMAT_UNKNOWN, FLIST_TIMEOUT, FLIST_CACHE_UNUSABLE, and what `compileArchive` throws.
 */
export async function locateIndex(
  archivePath: string,
  options: LocateOptions,
  signal: AbortSignal,
): Promise<LocatedIndex> {
  const stamp = stampArchive(archivePath)
  const digest = await digestOf(archivePath, options.cacheDir, stamp, signal)
  if (options.digest !== undefined && options.digest.toLowerCase() !== digest) {
    throw new FlistError(
      'FLIST_DIGEST_MISMATCH',
      `Cannot use "${archivePath}": its SHA-256 is ${digest}, wanted ${options.digest}`,
      { hint: 'Fetch the archive again, or correct the digest' },
    )
  }
  const indexPath = indexPathOf(options.cacheDir, digest)
  if (!isUsable(indexPath, digest)) await makeIndex(archivePath, indexPath, digest, stamp, options, signal)
  return { indexPath, digest }
}

async function digestOf(path: string, cacheDir: string, stamp: FileStamp, signal: AbortSignal): Promise<string> {
  const recordPath = join(cacheDir, 'v1', 'digests', stamp.name)
  const recorded = readRecord(recordPath, stamp)
  if (recorded !== undefined) return recorded
  // Before gigabytes of something else are hashed.
  if (magicOf(await readHead(path, HEAD_BYTES)) === undefined) throw unknownFormat(path)
  const startedMs = Date.now()
  const digest = await hashArchive(path, signal)
  if (stampArchive(path).text !== stamp.text) {
    throw new FlistError('FLIST_DIGEST_MISMATCH', `Cannot use "${path}": it changed while it was read`, {
      hint: 'Wait until whatever writes it is done, then try again',
    })
  }
  if (stamp.changedMs < startedMs - SETTLED_MS) writeRecord(recordPath, stamp, digest, resolve(path))
  return digest
}

function readRecord(recordPath: string, stamp: FileStamp): string | undefined {
  try {
    const [text, digest] = readFileSync(recordPath, 'latin1').split('\n')
    return text === stamp.text && digest !== undefined && DIGEST_TEXT.test(digest) ? digest : undefined
  } catch {
    return undefined
  }
}

/** Failing is no harm: the next mount hashes again. The path is for `flistfs cache list`. */
function writeRecord(recordPath: string, stamp: FileStamp, digest: string, path: string): void {
  const temporary = `${recordPath}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`
  try {
    makeFolder(dirname(recordPath), 0o700)
    writeFileSync(temporary, `${stamp.text}\n${digest}\n${path}\n`, { flag: 'wx' })
    renameSync(temporary, recordPath)
  } catch {
    try {
      rmSync(temporary, { force: true })
    } catch {
      // Where it cannot even be looked for it is not: the cache is a file, say.
    }
  }
}

function isUsable(indexPath: string, digest: string): boolean {
  try {
    checkIndex(indexPath, digest)
    return true
  } catch (error) {
    if (error instanceof FlistError && REMADE.has(error.code)) return false
    throw error
  }
}

const REMADE: ReadonlySet<string> = new Set(['FLIST_INDEX_DAMAGED', 'FLIST_NOT_FOUND'])

async function makeIndex(
  archivePath: string,
  indexPath: string,
  digest: string,
  stamp: FileStamp,
  options: LocateOptions,
  signal: AbortSignal,
): Promise<void> {
  const lockPath = `${indexPath}.lock`
  const deadlineMs = Date.now() + LIMITS.compileWaitMs
  while (!tryLock(lockPath, options.cacheDir)) {
    if (Date.now() > deadlineMs) {
      throw new FlistError('FLIST_TIMEOUT', `Cannot use "${archivePath}": another process has not made its index yet`, {
        hint: `Remove "${lockPath}" if no flistfs is at work`,
      })
    }
    if (signal.aborted) throw interrupted(archivePath, signal)
    await wait(POLL_MS)
  }
  try {
    // Who held the lock before us has made it.
    if (isUsable(indexPath, digest)) return
    const { compileArchive } = await import('./compile.ts')
    await compileArchive(archivePath, indexPath, { digest, signal, onProgress: options.onProgress, stamp: stamp.text })
    // A million inodes leave 170 MB behind in a process that serves for months from now on.
    giveBackMemory()
  } finally {
    releaseLock(lockPath)
  }
}

function tryLock(lockPath: string, cacheDir: string): boolean {
  try {
    makeFolder(dirname(lockPath), 0o700)
    return takeLock(lockPath)
  } catch (error) {
    if (systemCode(error) === '') throw error
    throw new FlistError('FLIST_CACHE_UNUSABLE', `Cannot use the cache "${cacheDir}": ${systemReason(error)}`, {
      hint: 'Name a folder you may write with --cache',
      cause: error,
    })
  }
}

function interrupted(path: string, signal: AbortSignal): FlistError {
  return new FlistError('FLIST_INTERRUPTED', `Cannot use "${path}": interrupted`, { cause: signal.reason })
}
