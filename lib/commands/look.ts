import { statSync } from 'node:fs'
import { displayBytes, FlistError, shownPath, wordBytes } from '../base/index.ts'
import {
  findPath,
  type FlistIndex,
  majorOf,
  minorOf,
  parseFind,
  rowStat,
  type RowStat,
  SIGNATURE_TAG,
  summarize,
  type TreeSummary,
  typeName,
  walk,
} from '../flist/index.ts'
import { CacheView, redactUrl } from '../store/index.ts'
import type { OpenedArchive } from './open-archive.ts'
import { reportSignatures, type SignatureReport } from './signatures.ts'

/** An entry as JSON has it. */
export interface Entry {
  /** Relative to the root, which is empty; control characters and bytes that are no UTF-8 are shown as `\xNN`. */
  readonly path: string
  /** Its bytes in hex, where some are shown so. */
  readonly pathHex?: string
  readonly type: string
  /** Four octal digits. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly nlink: number
  readonly ino: number
  /** Unix time with nine digits behind the point, exact. */
  readonly mtime: string
  readonly ctime: string
  readonly target?: string
  readonly device?: { readonly major: number; readonly minor: number }
}

export interface Inspection {
  readonly archive: string
  readonly digest: string
  readonly format: string
  /** Bytes of the archive itself. */
  readonly bytes: number
  readonly summary: Omit<TreeSummary, 'largest'>
  readonly largest: { readonly path: string; readonly size: number } | undefined
  readonly features: readonly string[]
  readonly routes: readonly { readonly range: string; readonly url: string }[]
  readonly tags: Readonly<Record<string, string>>
  /** The configuration of the image it was made from, where there is one. */
  readonly config?: unknown
  /** Who signed it. */
  readonly signatures: SignatureReport['signatures']
  /** Present where what should be signatures is none. */
  readonly signatureError?: string
  /** Blocks that are in the cache. */
  readonly cached: { readonly blocks: number; readonly bytes: number }
}

/** Tags that have a place of their own in what is shown. */
const CONFIG_TAG = 'x-oci-config'

export async function inspectArchive(archive: OpenedArchive, signal: AbortSignal): Promise<Inspection> {
  const { index, name, path, cacheDir } = archive
  const { largest, ...summary } = summarize(index)
  const { [CONFIG_TAG]: config, [SIGNATURE_TAG]: _signature, ...tags } = index.tags
  const view = CacheView.open(cacheDir)
  try {
    return {
      archive: name,
      digest: index.digest,
      format: index.format,
      bytes: statSync(path).size,
      summary,
      largest: largest < 0 ? undefined : { path: displayBytes(index.pathOf(largest)), size: index.size[largest] ?? 0 },
      features: featuresOf(index),
      routes: index.routes.map(({ start, end, url }) => ({ range: `${hex(start)}-${hex(end)}`, url: redactUrl(url) })),
      tags,
      ...(config === undefined ? {} : { config: parsed(config) }),
      ...(await signaturesOf(archive, signal)),
      cached: (await view?.share(index.keys, index.hashBytes, signal)) ?? { blocks: 0, bytes: 0 },
    }
  } finally {
    view?.close()
  }
}

/** To look at an archive it need not be right. */
async function signaturesOf(
  archive: OpenedArchive,
  signal: AbortSignal,
): Promise<Pick<Inspection, 'signatures' | 'signatureError'>> {
  try {
    // No network for that: of an archive that was fetched, those in it.
    const here = { ...archive, url: undefined }
    const { signatures } = await reportSignatures(here, [], { warn: () => undefined }, signal)
    return { signatures }
  } catch (error) {
    if (!(error instanceof FlistError) || error.code !== 'FLIST_ARCHIVE_DAMAGED') throw error
    return { signatures: [], signatureError: error.message }
  }
}

function featuresOf(index: FlistIndex): string[] {
  const has: readonly [boolean, string][] = [
    [index.hasLinks, 'hard links'],
    [index.hasXattrs, 'extended attributes'],
    [index.hasAcls, 'ACLs'],
    [index.mtimeNs !== undefined, 'nanoseconds'],
  ]
  return has.filter(([is]) => is).map(([, name]) => name)
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}

/** What is no JSON is shown as it is. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}

export function entryOf(path: Buffer, stat: RowStat): Entry {
  return {
    ...shownPath(path),
    type: typeName(stat.mode),
    mode: (stat.mode & 0o7777).toString(8).padStart(4, '0'),
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    nlink: stat.nlink,
    ino: stat.ino,
    mtime: exactTime(stat.mtime, stat.mtimeNs),
    ctime: exactTime(stat.ctime, stat.ctimeNs),
    ...(stat.target === undefined ? {} : { target: displayBytes(stat.target) }),
    ...(stat.rdev === 0 ? {} : { device: { major: majorOf(stat.rdev), minor: minorOf(stat.rdev) } }),
  }
}

function exactTime(seconds: number, ns: number): string {
  return `${seconds}.${String(ns).padStart(9, '0')}`
}

export interface StatResult extends Entry {
  /** Block references the archive has of a file. */
  readonly blocks: number
  /** Values in base64: they are bytes. */
  readonly xattrs: Readonly<Record<string, string>>
}

/** What the archive says of each path; links are not followed. Throws FLIST_USAGE where a path is not there. */
export function statPaths({ index }: OpenedArchive, paths: readonly string[]): StatResult[] {
  return paths.map((path) => {
    const found = findPath(index, wordBytes(path), false)
    const leader = index.leader[found.row] ?? found.row
    const stat = rowStat(index, found.row)
    const xattrs = index.xattrs(leader).map(({ name, value }) => [displayBytes(name), value.toString('base64')])
    const blocks = typeName(stat.mode) === 'file' ? (index.count[leader] ?? 0) : 0
    return { ...entryOf(found.path, stat), blocks, xattrs: Object.fromEntries(xattrs) as Record<string, string> }
  })
}

/** Takes what a search finds. */
export interface Sink {
  /** Nobody reads any more. */
  readonly closed: boolean
  push(bytes: Buffer): void
}

/**
 * find(1) over an archive: `words` are paths, then an expression. `time` writes a time for `-ls`. Where `entry` is given it gets what is printed.
 * Throws FLIST_USAGE.
 */
export function findEntries(
  { index }: OpenedArchive,
  words: readonly string[],
  sink: Sink,
  time: (seconds: number) => string,
  asEntry: ((entry: Entry) => void) | undefined,
): void {
  const begins = words.findIndex((word) => /^[-!(]/.test(word))
  const paths = begins < 0 ? words : words.slice(0, begins)
  const expression = parseFind(begins < 0 ? [] : words.slice(begins), { now: Date.now() / 1000, time })
  let isOver = false
  for (const path of paths.length === 0 ? ['.'] : paths) {
    const start = wordBytes(path)
    const { row } = findPath(index, start, false)
    for (const step of walk(index, row, start)) {
      if (step.depth >= expression.depthMax) step.prune = true
      if (step.depth >= expression.depthMin) {
        expression.run({
          index,
          step,
          start,
          emit: (bytes) =>
            asEntry === undefined ? sink.push(bytes) : asEntry(entryOf(step.path, rowStat(index, step.row))),
          quit: () => (isOver = true),
        })
      }
      if (isOver || sink.closed) return
    }
  }
}
