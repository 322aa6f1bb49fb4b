import { statSync } from 'node:fs'
import { join } from 'node:path'
import { FlistError, LIMITS } from '../base/index.ts'
import { openSink } from './open.ts'
import type { BlockSink } from './sink.ts'
import { DirSink } from './sink-dir.ts'
import { patient } from './sink-patient.ts'
import { parseStoreUrl, type StoreRoute } from './store-url.ts'

/** All stores that blocks go to. */
export interface OpenSinks {
  /** Folders, which those who make blocks write by themselves, as `DirSink`. */
  readonly folders: readonly {
    readonly start: number
    readonly end: number
    readonly name: string
    readonly path: string
  }[]
  /** By first byte of an id: 1 where a store that is no folder takes such blocks. */
  readonly wanted: Uint8Array
  /**
   * Ends when each store that is no folder and takes the block has it; true where one did not have it before. Throws
   * FLIST_STORE_*, FLIST_TIMEOUT, FLIST_INTERRUPTED.
   */
  send(id: Buffer, stored: Buffer, signal: AbortSignal): Promise<boolean>
  /** Whether every store that takes the block has it, folders too. Throws as `send`. */
  has(id: Buffer, signal: AbortSignal): Promise<boolean>
  [Symbol.asyncDispose](): Promise<void>
}

interface Member {
  readonly start: number
  readonly end: number
  readonly sink: BlockSink
}

/**
 * Opens the stores an operator named for writing; each block goes to all that take it. Throws FLIST_USAGE for a store that
 * cannot be written, FLIST_BLOCK_NOT_ROUTED where blocks would be without a store, and FLIST_STORE_* for a folder.
 */
export async function openSinks(routes: readonly StoreRoute[], baseDir: string): Promise<OpenSinks> {
  checkRanges(routes)
  const folders: OpenSinks['folders'][number][] = []
  const members: Member[] = []
  const opened = new Map<string, BlockSink>()
  try {
    for (const { start, end, url } of routes) {
      const { scheme, name, path } = parseStoreUrl(url, baseDir)
      if (scheme === 'dir') {
        // What is wrong with the folder is said here, once, and not by every thread.
        new DirSink(name, path).close()
        folders.push({ start, end, name, path })
        continue
      }
      const sink = opened.get(url) ?? patient(await openSink(url, baseDir), LIMITS.connectionsPerStore)
      opened.set(url, sink)
      members.push({ start, end, sink })
    }
  } catch (error) {
    await disposeAll(opened.values())
    throw error
  }
  const wanted = new Uint8Array(256)
  for (const { start, end } of members) wanted.fill(1, start, end + 1)
  return {
    folders,
    wanted,
    async send(id, stored, signal) {
      const first = id[0] ?? 0
      const takers = members.filter(({ start, end }) => first >= start && first <= end)
      const fresh = await Promise.all(takers.map(({ sink }) => sendTo(sink, id, stored, signal)))
      return fresh.includes(true)
    },
    async has(id, signal) {
      const first = id[0] ?? 0
      const takes = ({ start, end }: { start: number; end: number }): boolean => first >= start && first <= end
      const hex = id.toString('hex')
      const isHere = folders.filter(takes).every(({ path }) => isBlock(join(path, hex.slice(0, 2), hex)))
      if (!isHere) return false
      const found = await Promise.all(members.filter(takes).map(({ sink }) => sink.has(id, signal)))
      return found.every(Boolean)
    },
    [Symbol.asyncDispose]: () => disposeAll(opened.values()),
  }
}

function isBlock(path: string): boolean {
  const about = statSync(path, { throwIfNoEntry: false })
  return about !== undefined && about.isFile() && about.size > 0
}

async function sendTo(sink: BlockSink, id: Buffer, stored: Buffer, signal: AbortSignal): Promise<boolean> {
  if (await sink.has(id, signal)) return false
  await sink.put(id, stored, signal)
  return true
}

async function disposeAll(sinks: Iterable<BlockSink>): Promise<void> {
  await Promise.all([...sinks].map((sink) => sink[Symbol.asyncDispose]()))
}

function checkRanges(routes: readonly StoreRoute[]): void {
  // Nothing is stored: who compares wants the hashes alone.
  if (routes.length === 0) return
  for (let byte = 0; byte < 256; byte += 1) {
    if (routes.some(({ start, end }) => byte >= start && byte <= end)) continue
    const hex = byte.toString(16).padStart(2, '0')
    throw new FlistError(
      'FLIST_BLOCK_NOT_ROUTED',
      `Cannot store blocks that begin with ${hex}: no --store takes them`,
      {
        hint: 'Name a store without a range, or ranges that cover 00 to ff',
      },
    )
  }
}
