import { resolve } from 'node:path'
import { isatty } from 'node:tty'
import { FlistError } from '../base/index.ts'
import type { Route } from '../flist/index.ts'
import { mergeTrees, writeTree, type WrittenArchive } from '../make/index.ts'
import { parseStoreRoute, publicUrl } from '../store/index.ts'
import { routesFor } from './edit.ts'
import { readSigningKeys } from './key-files.ts'
import { type ArchiveReport, openArchive, type OpenedArchive } from './open-archive.ts'
import { showProgress } from './progress.ts'

export interface MergeRequest {
  /** The lowest first. */
  readonly archives: readonly string[]
  readonly output: string
  /** What the result says of its blocks; empty: all that the archives say. */
  readonly stores: readonly string[]
  readonly whiteouts: boolean
  /** Files of keys that sign the result. */
  readonly sign: readonly string[]
  readonly cacheDir: string | undefined
  readonly hub: string | undefined
}

/** Tags that speak of one archive, not of what is made of it. */
const OWN_TAGS = ['x-signature', 'x-oci-config']

/** Puts archives over each other. No block is read or stored. Throws FLIST_USAGE for archives of two formats. */
export async function mergeArchives(
  request: MergeRequest,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<WrittenArchive> {
  const { cacheDir, hub, stores } = request
  const sign = readSigningKeys(request.sign)
  using opened = new DisposableStack()
  const archives: OpenedArchive[] = []
  for (const archive of request.archives) {
    archives.push(opened.use(await openArchive({ archive, cacheDir, hub }, report, signal)))
  }
  const last = archives.at(-1)
  const strange = archives.find(({ index }) => index.format !== last?.index.format)
  if (last === undefined || strange !== undefined) {
    throw new FlistError(
      'FLIST_USAGE',
      `Cannot merge "${strange?.name ?? ''}" with "${last?.name ?? ''}": formats differ`,
      {
        hint: 'Blocks of fl and v1 differ: pack one of them anew in the format of the other',
      },
    )
  }
  const output = resolve(request.output)
  const tree = mergeTrees(
    archives.map(({ index }) => index),
    request.whiteouts,
  )
  const tags = new Map(archives.flatMap(({ index }) => Object.entries(index.tags)))
  // The configuration is that of the top one, where it has one; a signature is of no use to another tree.
  for (const name of OWN_TAGS) tags.delete(name)
  const config = last.index.tags['x-oci-config']
  if (config !== undefined) tags.set('x-oci-config', config)
  const routes =
    stores.length > 0
      ? stores.map(parseStoreRoute).map((route) => ({ ...route, url: publicUrl(route.url, process.cwd()) }))
      : united(archives, output)
  const progress = showProgress(report.progress, 'Merging', isatty(2))
  const options = { archive: output, format: last.index.format, routes, tags, sign, onRows: progress.onRows }
  return writeTree(tree, options, signal).finally(() => progress.end())
}

/** Each place once; those of the top one are asked first. */
function united(archives: readonly OpenedArchive[], output: string): Route[] {
  const all = archives.toReversed().flatMap((archive) => routesFor(archive, output))
  const key = ({ start, end, url }: Route): string => `${start} ${end} ${url}`
  return [...new Map(all.map((route) => [key(route), route])).values()]
}
