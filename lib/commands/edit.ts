import { mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { isatty } from 'node:tty'
import { FlistError, LIMITS, wordBytes } from '../base/index.ts'
import { type FlistIndex, locateIndex, openIndex, type Route } from '../flist/index.ts'
import {
  EditTree,
  Operations,
  packFolder,
  type TreeNode,
  wordsOf,
  writeTree,
  type WrittenArchive,
} from '../make/index.ts'
import { parseStoreRoute, publicUrl, type StoreRoute } from '../store/index.ts'
import { readSigningKeys } from './key-files.ts'
import { type ArchiveReport, type ArchiveWords, openArchive, type OpenedArchive } from './open-archive.ts'
import { ownerId } from './pack-values.ts'
import { packing, showProgress } from './progress.ts'

export interface EditRequest extends ArchiveWords {
  /** Where the result goes; undefined: in the place of the archive, which must be a file then. */
  readonly output: string | undefined
  /** Where blocks of `put` go; empty: where the archive says. */
  readonly stores: readonly string[]
  /** Files of keys that sign the result. */
  readonly sign: readonly string[]
  /** One command each, as words. */
  readonly commands: readonly (readonly string[])[]
  /** Seconds of Unix time that what is changed gets. */
  readonly now: number
}

/** Applies commands to an archive, all of them or none. Throws FLIST_USAGE with the command that cannot be done. */
export async function editArchive(
  request: EditRequest,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<WrittenArchive> {
  const sign = readSigningKeys(request.sign)
  using archive = await openArchive(request, report, signal)
  const { index } = archive
  const output = outputOf(archive, request.archive, request.output)
  await using scratch = new AsyncDisposableStack()
  const tree = new EditTree(index)
  const editing = new Editing(request, archive, tree, scratch, report, signal)
  for (const words of request.commands) {
    signal.throwIfAborted()
    await editing.run(words)
  }
  const routes = [...routesFor(archive, output), ...editing.newRoutes]
  const tags = new Map(Object.entries(index.tags))
  // It speaks of what the archive was.
  tags.delete('x-signature')
  const progress = showProgress(report.progress, 'Writing', isatty(2))
  const options = { archive: output, format: index.format, routes, tags, sign, onRows: progress.onRows }
  return writeTree(tree, options, signal).finally(() => progress.end())
}

/** An archive that was fetched is not changed in its place. */
export function outputOf({ path }: OpenedArchive, typed: string, output: string | undefined): string {
  if (output !== undefined) return resolve(output)
  if (resolve(typed) === path) return realpathSync(path)
  throw new FlistError('FLIST_USAGE', `Cannot change "${typed}": it is no file of this machine`, {
    hint: 'Name the file to write: -o FILE',
  })
}

/** An archive's routes, for another folder: what is relative to the old one becomes absolute. */
export function routesFor({ index, baseDir }: OpenedArchive, output: string): Route[] {
  if (dirname(output) === baseDir) return [...index.routes]
  return index.routes.map((route) => ({
    ...route,
    url: /^dir:(?!\/\/)/.test(route.url) ? publicUrl(route.url, baseDir) : route.url,
  }))
}

/** Lines of a script as commands. Throws FLIST_USAGE. */
export function commandsOf(script: string): string[][] {
  return script
    .split('\n')
    .map(wordsOf)
    .filter((words) => words.length > 0)
}

class Editing {
  readonly newRoutes: Route[] = []
  readonly #request: EditRequest
  readonly #archive: OpenedArchive
  readonly #operations: Operations
  readonly #scratch: AsyncDisposableStack
  readonly #report: ArchiveReport
  readonly #signal: AbortSignal

  constructor(
    request: EditRequest,
    archive: OpenedArchive,
    tree: EditTree,
    scratch: AsyncDisposableStack,
    report: ArchiveReport,
    signal: AbortSignal,
  ) {
    this.#request = request
    this.#archive = archive
    this.#operations = new Operations(tree, request.now)
    this.#scratch = scratch
    this.#report = report
    this.#signal = signal
  }

  async run(words: readonly string[]): Promise<void> {
    const [name = '', ...rest] = words
    const known = FLAGS[name] ?? []
    const args = rest.filter((word) => !known.includes(word))
    const flagged = args.length < rest.length
    const [a = '', b = '', c = ''] = args
    const operations = this.#operations
    const wanted = COUNTS[name]
    if (wanted === undefined)
      throw wrong(words, `"${name}" is no command`, `Known are ${Object.keys(COUNTS).join(', ')}`)
    if (args.length !== wanted.length)
      throw wrong(words, `${name} takes ${[...known.slice(0, 1).map((flag) => `[${flag}]`), ...wanted].join(' ')}`)
    if (name === 'put') await this.#put(a, b)
    else if (name === 'rm') operations.rm(a, flagged)
    else if (name === 'mv') operations.mv(a, b)
    else if (name === 'mkdir') operations.mkdir(a, flagged)
    else if (name === 'ln') operations.ln(a, b, flagged)
    else if (name === 'chmod') operations.chmod(a, b, flagged)
    else if (name === 'chown') this.#chown(a, b, flagged)
    else if (name === 'set-xattr') operations.setXattr(a, valueOf(b), c)
    else operations.setXattr(a, undefined, b)
  }

  #chown(owner: string, path: string, recursive: boolean): void {
    const [user = '', group] = owner.split(':')
    const uid = user === '' ? undefined : ownerId(user, 'user')
    const gid = group === undefined || group === '' ? undefined : ownerId(group, 'group')
    this.#operations.chown(uid, gid, path, recursive)
  }

  /** Packs a file or a folder into the stores, and hangs its tree into this one. */
  async #put(source: string, path: string): Promise<void> {
    const dir = this.#scratch.adopt(mkdtempSync(join(tmpdir(), 'flistfs-edit-')), (name) =>
      rmSync(name, { recursive: true }),
    )
    const { index } = this.#archive
    if (!source.isWellFormed()) {
      const hint = 'Rename it, or link to it under another name'
      throw new FlistError('FLIST_USAGE', `Cannot put "${source}": the word is not UTF-8`, { hint })
    }
    const isFolder = statSync(source, { throwIfNoEntry: false })?.isDirectory()
    if (isFolder === undefined)
      throw new FlistError('FLIST_NOT_FOUND', `Cannot put "${source}": it is not there`, {
        hint: 'Name a file or a folder of this machine',
      })
    const base = basename(resolve(source))
    const one = join(dir, 'one')
    if (!isFolder) {
      // The one way to pack a single file: a folder with a link to it, which is followed.
      mkdirSync(one)
      symlinkSync(resolve(source), join(one, base))
    }
    const archive = join(dir, 'archive')
    const { stores, baseDir } = this.#stores()
    const folder = isFolder ? source : one
    const request = { source: folder, archive, format: index.format, stores, baseDir, follow: !isFolder }
    const progress = showProgress(this.#report.progress, 'Packing', isatty(2), source)
    const packed = await packFolder({ ...request, onProgress: packing(progress) }, this.#signal).finally(() =>
      progress.end(),
    )
    const [problem] = packed.problems
    if (problem !== undefined)
      throw new FlistError('FLIST_SYSTEM', `Cannot put "${source}": "${problem.path}": ${problem.why}`)
    const added = await this.#open(archive, packed.digest, dir)
    const { root } = new EditTree(added)
    const node: TreeNode | undefined = isFolder ? root : root.children.get(Buffer.from(base).toString('latin1'))
    if (node !== undefined) this.#operations.graft(node, Buffer.from(base).toString('latin1'), path)
  }

  async #open(archive: string, digest: string, cacheDir: string): Promise<FlistIndex> {
    const { indexPath } = await locateIndex(archive, { cacheDir, digest }, this.#signal)
    const index = openIndex(indexPath, digest)
    this.#scratch.defer(() => index.close())
    return index
  }

  #stores(): { stores: StoreRoute[]; baseDir: string } {
    const { stores } = this.#request
    const { index, baseDir } = this.#archive
    if (stores.length === 0) return { stores: [...index.routes], baseDir }
    const routes = stores.map(parseStoreRoute)
    for (const { start, end, url } of routes) {
      const route = { start, end, url: publicUrl(url, process.cwd()) }
      const known = [...index.routes, ...this.newRoutes]
      if (!known.some((old) => old.start === start && old.end === end && publicUrl(old.url, baseDir) === route.url)) {
        this.newRoutes.push(route)
      }
    }
    return { stores: routes, baseDir: process.cwd() }
  }
}

const COUNTS: Readonly<Record<string, readonly string[]>> = {
  put: ['SOURCE', 'PATH'],
  rm: ['PATH'],
  mv: ['FROM', 'TO'],
  mkdir: ['PATH'],
  ln: ['TARGET', 'PATH'],
  chmod: ['MODE', 'PATH'],
  chown: ['OWNER', 'PATH'],
  'set-xattr': ['NAME', 'VALUE', 'PATH'],
  'rm-xattr': ['NAME', 'PATH'],
}

/** Any other word that begins with a dash is an argument: a mode may be `-x`. */
const FLAGS: Readonly<Record<string, readonly string[]>> = {
  rm: ['-r', '-R', '-rf'],
  mkdir: ['-p'],
  ln: ['-s'],
  chmod: ['-R'],
  chown: ['-R'],
}

/** Text, or bytes as setfattr(1) takes them: `0x...`, `0s...`. */
function valueOf(text: string): Buffer {
  const value = /^0x(?:[0-9a-f]{2})*$/i.test(text)
    ? Buffer.from(text.slice(2), 'hex')
    : text.startsWith('0s')
      ? Buffer.from(text.slice(2), 'base64')
      : wordBytes(text)
  if (value.length <= LIMITS.xattrValueBytesMax) return value
  throw new FlistError(
    'FLIST_USAGE',
    `Cannot set an attribute of ${value.length} bytes: ${LIMITS.xattrValueBytesMax} is the most`,
  )
}

function wrong(words: readonly string[], why: string, hint?: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot do "${words.join(' ')}": ${why}`, hint === undefined ? {} : { hint })
}
