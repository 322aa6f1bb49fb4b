import { LIMITS } from '../base/index.ts'
import { imageDamaged, imageLimit } from './image-error.ts'
import { type LocalBytes, readLocal } from './local-bytes.ts'
import { TarReader } from './tar/tar-reader.ts'

/** Links from member to member, as old versions of docker wrote them for a layer that is there twice. */
const LINKS_MAX = 8

/** What lies where in an archive of an image, which is read in place. */
export class TarMembers {
  readonly #archive: LocalBytes
  readonly #files = new Map<string, LocalBytes>()
  readonly #links = new Map<string, string>()

  private constructor(archive: LocalBytes) {
    this.#archive = archive
  }

  /** Reads all headers. `where` names the archive. */
  static async read(archive: LocalBytes, where: string, signal: AbortSignal): Promise<TarMembers> {
    const members = new TarMembers(archive)
    let bytes = 0
    const reader = new TarReader(readLocal(archive, signal), { where })
    try {
      for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
        const name = plain(entry.name.toString('utf8'))
        if (members.#files.size + members.#links.size >= LIMITS.archiveMembersMax) {
          throw imageLimit(where, `it has more than ${LIMITS.archiveMembersMax} members`)
        }
        bytes += entry.name.length + entry.target.length
        if (bytes > LIMITS.archiveNamesBytesMax) {
          throw imageLimit(where, `the names in it have more than ${LIMITS.archiveNamesBytesMax} bytes`)
        }
        if (entry.sparse !== undefined) throw imageDamaged(where, `"${name}" in it is sparse`)
        if (entry.type === 'file') {
          const offset = archive.offset + reader.dataOffset
          members.#files.set(name, { path: archive.path, offset, size: entry.size })
        } else if (entry.type === 'symlink') {
          const folder = name.split('/').slice(0, -1)
          members.#links.set(name, plain([...folder, entry.target.toString('utf8')].join('/')))
        } else if (entry.type === 'hardlink') {
          members.#links.set(name, plain(entry.target.toString('utf8')))
        }
      }
    } finally {
      await reader.close()
    }
    return members
  }

  get size(): number {
    return this.#archive.size
  }

  find(name: string): LocalBytes | undefined {
    let at = plain(name)
    for (let links = 0; links < LINKS_MAX; links += 1) {
      const file = this.#files.get(at)
      if (file !== undefined) return file
      const next = this.#links.get(at)
      if (next === undefined) return undefined
      at = next
    }
    return undefined
  }
}

/** Without "." and with ".." undone; a name that leads outside finds nothing. */
function plain(name: string): string {
  const parts: string[] = []
  for (const part of name.split('/')) {
    if (part === '..') {
      if (parts.length === 0) return '..'
      parts.pop()
    } else if (part !== '' && part !== '.') parts.push(part)
  }
  return parts.join('/')
}
