import { FlistError } from '../base/index.ts'
import type { Route } from '../flist/index.ts'
import { EditTree, writeTree } from '../make/index.ts'
import { parseStoreRoute, publicUrl, redactUrl } from '../store/index.ts'
import { outputOf, routesFor } from './edit.ts'
import { type ArchiveReport, type ArchiveWords, openArchive } from './open-archive.ts'

export interface TagRequest extends ArchiveWords {
  readonly output: string | undefined
  /** `NAME=VALUE`. */
  readonly set: readonly string[]
  readonly remove: readonly string[]
}

/** The tags of an archive, after the change that is asked for. Throws FLIST_USAGE. */
export async function tagArchive(
  request: TagRequest,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  using archive = await openArchive(request, report, signal)
  const { index } = archive
  if (request.set.length === 0 && request.remove.length === 0) return index.tags
  const tags = new Map(Object.entries(index.tags))
  for (const name of request.remove) {
    if (!tags.delete(name)) {
      throw new FlistError('FLIST_USAGE', `Cannot remove the tag "${name}": it is not there`, {
        hint: 'See what is there: flistfs tag ARCHIVE',
      })
    }
  }
  for (const words of request.set) {
    const [, name = '', value = ''] = /^([^=]+)=([^]*)$/.exec(words) ?? []
    if (name === '') throw new FlistError('FLIST_USAGE', `Cannot set "${words}"`, { hint: 'Write a tag as NAME=VALUE' })
    tags.set(name, value)
  }
  // Tags are part of what was signed.
  tags.delete('x-signature')
  const output = outputOf(archive, request.archive, request.output)
  const options = { archive: output, format: index.format, routes: routesFor(archive, output), tags }
  await writeTree(new EditTree(index), options, signal)
  return Object.fromEntries(tags)
}

export interface RouteRequest extends ArchiveWords {
  readonly output: string | undefined
  readonly add: readonly string[]
  /** URLs as they stand in the archive. */
  readonly remove: readonly string[]
  /** Undefined: those that are there. */
  readonly set: readonly string[] | undefined
}

/** Where an archive says its blocks are, after the change that is asked for; without secrets. Throws FLIST_USAGE. */
export async function routeArchive(
  request: RouteRequest,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<readonly { readonly range: string; readonly url: string }[]> {
  using archive = await openArchive(request, report, signal)
  const { index } = archive
  const { add, remove, set } = request
  if (add.length === 0 && remove.length === 0 && set === undefined) return index.routes.map(shown)
  const output = outputOf(archive, request.archive, request.output)
  let routes = set === undefined ? routesFor(archive, output) : set.map(given)
  for (const url of remove) {
    const left = routes.filter((route) => route.url !== url && redactUrl(route.url) !== url)
    if (left.length === routes.length) {
      throw new FlistError('FLIST_USAGE', `Cannot remove the route "${redactUrl(url)}": it is not there`, {
        hint: `See flistfs route ${archive.name}`,
      })
    }
    routes = left
  }
  routes = [...routes, ...add.map(given)]
  const tags = new Map(Object.entries(index.tags))
  await writeTree(new EditTree(index), { archive: output, format: index.format, routes, tags }, signal)
  return routes.map(shown)
}

/** Passwords stay here: an archive is read by everybody. A relative folder stays relative to the archive. */
function given(words: string): Route {
  const { start, end, url } = parseStoreRoute(words)
  return { start, end, url: /^dir:(?!\/\/)/.test(url) ? url : publicUrl(url, process.cwd()) }
}

function shown({ start, end, url }: Route): { range: string; url: string } {
  const hex = (byte: number): string => byte.toString(16).padStart(2, '0')
  return { range: `${hex(start)}-${hex(end)}`, url: redactUrl(url) }
}
