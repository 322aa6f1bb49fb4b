import { setImmediate } from 'node:timers/promises'
import { displayBytes, FlistError, LIMITS } from '../../base/index.ts'
import { beyondLimit, damaged } from '../damage.ts'
import type { TreeSink } from '../tree-sink.ts'
import { hostAccounts, type Accounts } from './accounts.ts'
import { MessageError } from './capnp.ts'
import { DirectoryReader, type Subdirectory } from './directory-reader.ts'
import { Entries } from './entries.ts'
import { ROOT_KEY } from './layout.ts'
import { ROUTES_TAG, taggedRoutes } from './route-tags.ts'
import { backendRoute, routerRoutes } from './routes.ts'

export interface ReadV1Options {
  signal: AbortSignal
  /** The archive's `router.yaml`. */
  routerYaml?: Buffer | undefined
  /** Called now and then with the number of entries read so far. */
  onProgress?: ((entries: number) => void) | undefined
  /** Who owns what an archive from before July 2020 holds: names, not ids. This machine's accounts when not given. */
  accounts?: Accounts
  /** The archive that the database came out of, for messages. */
  archivePath?: string
}

/** Entries between two looks at the clock of the world: about 20 ms. */
const ENTRIES_PER_TURN = 16_384

/**
 * Reads a v1 database (`flistdb.sqlite3`) into `builder`: tags, routes, then the tree from the root down by its references.
 * Throws FLIST_ARCHIVE_DAMAGED (the message names the folder), FLIST_LIMIT, FLIST_NOT_FOUND, FLIST_INTERRUPTED.
 */
export async function readV1(databasePath: string, builder: TreeSink, options: ReadV1Options): Promise<void> {
  const entries = new Entries(databasePath, options.archivePath ?? databasePath)
  try {
    const tags = entries.tags()
    for (const [key, value] of tags) builder.tags.set(key, value)
    if (options.routerYaml !== undefined) builder.routes.push(...routerRoutes(options.routerYaml))
    const backend = backendRoute(tags.get('backend'))
    if (backend !== undefined) builder.routes.push(backend)
    builder.routes.push(...taggedRoutes(tags.get(ROUTES_TAG)))
    await new TreeWalk(entries, builder, options).run()
  } finally {
    entries.close()
  }
}

/** A folder that was met and not yet read. The chain of parents is its path, for messages. */
interface Pending extends Subdirectory {
  parent: Pending | undefined
  depth: number
}

/** One walk over an archive's folders, without recursion: a folder's key is its identity, and each is read once. */
class TreeWalk {
  readonly #entries: Entries
  readonly #options: ReadV1Options
  readonly #directories: DirectoryReader
  readonly #seen = new Set<string>([ROOT_KEY])
  readonly #pending: Pending[] = []
  #nextTurn = ENTRIES_PER_TURN

  constructor(entries: Entries, builder: TreeSink, options: ReadV1Options) {
    this.#entries = entries
    this.#options = options
    this.#directories = new DirectoryReader(entries, builder, options.accounts ?? hostAccounts('/etc'))
  }

  async run(): Promise<void> {
    this.#checkAborted()
    this.#readOne({ key: ROOT_KEY, name: '', entry: -1, parent: undefined, depth: 0 })
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
      this.#readOne(next)
      const { entryCount } = this.#directories
      if (entryCount < this.#nextTurn) continue
      this.#nextTurn = entryCount + ENTRIES_PER_TURN
      this.#options.onProgress?.(entryCount)
      await setImmediate()
      this.#checkAborted()
    }
    this.#options.onProgress?.(this.#directories.entryCount)
  }

  #readOne(directory: Pending): void {
    const message = this.#entries.message(directory.key)
    if (message === undefined) throw damaged(pathOf(directory), `the archive has no row "${directory.key}" for it`)
    try {
      this.#directories.read(message, directory.entry, (found) => this.#meet(found, directory))
    } catch (error) {
      if (error instanceof MessageError) throw damaged(pathOf(directory), error.message, error)
      throw error
    }
  }

  #meet(found: Subdirectory, parent: Pending): void {
    const depth = parent.depth + 1
    const directory: Pending = { key: found.key, name: found.name, entry: found.entry, parent, depth }
    if (depth > LIMITS.treeDepthMax) {
      throw beyondLimit('this archive', `it has folders more than ${LIMITS.treeDepthMax} levels deep`)
    }
    if (this.#seen.has(found.key)) throw damaged(pathOf(directory), `"${found.key}" is another folder's key too`)
    this.#seen.add(found.key)
    this.#pending.push(directory)
  }

  #checkAborted(): void {
    const { signal } = this.#options
    if (!signal.aborted) return
    throw new FlistError('FLIST_INTERRUPTED', 'Cannot read the archive: interrupted', { cause: signal.reason })
  }
}

/** In quotes, as messages name a thing. Of a very deep one the end only. */
function pathOf(directory: Pending): string {
  const parts: string[] = []
  for (let at: Pending | undefined = directory; at?.parent !== undefined && parts.length < 64; at = at.parent) {
    parts.unshift(displayBytes(Buffer.from(at.name, 'latin1')))
  }
  return `"${parts.length === 0 ? '/' : parts.join('/')}"`
}
