import { createHash, randomBytes } from 'node:crypto'
import { constants, mkdirSync, readFileSync, statSync } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FlistError, systemReason } from '../base/index.ts'
import { removeTorn } from './torn-files.ts'

/** What is remembered about a URL: `<cache>/v1/urls/<hash of the url>.json`. */
export interface UrlRecord {
  /** Without credentials. */
  readonly url: string
  readonly etag?: string | undefined
  readonly lastModified?: string | undefined
  readonly sha256: string
  readonly md5: string
  readonly bytes: number
  /** ISO 8601. */
  readonly time: string
}

/** The archives kept in a cache folder, by digest: `<cache>/v1/archives/<sha256>`. What writes throws FLIST_CACHE_UNUSABLE. */
export class ArchiveShelf {
  readonly #archives: string
  readonly #urls: string

  readonly #cacheDir: string

  constructor(cacheDir: string) {
    this.#cacheDir = cacheDir
    this.#archives = join(cacheDir, 'v1', 'archives')
    this.#urls = join(cacheDir, 'v1', 'urls')
  }

  /** Where the archive lies, or undefined. `bytes` known: a copy of another length is none. */
  find(sha256: string, bytes?: number): string | undefined {
    const path = join(this.#archives, sha256)
    const stat = statSync(path, { throwIfNoEntry: false })
    if (!stat?.isFile() || stat.size === 0) return undefined
    return bytes === undefined || stat.size === bytes ? path : undefined
  }

  /** What was remembered about a URL whose archive is still here. */
  remember(url: URL): UrlRecord | undefined {
    try {
      const record = JSON.parse(readFileSync(this.#urlPath(url), 'utf8')) as UrlRecord
      return isUrlRecord(record) && this.find(record.sha256, record.bytes) ? record : undefined
    } catch {
      return undefined
    }
  }

  note(url: URL, record: UrlRecord): Promise<void> {
    return written(this.#urls, async () => {
      await mkdir(this.#urls, { recursive: true, mode: 0o700 })
      const path = this.#urlPath(url)
      const temp = `${path}.${randomBytes(6).toString('hex')}.tmp`
      try {
        await writeFile(temp, `${JSON.stringify(record)}\n`, { flag: 'wx', mode: 0o600 })
        await rename(temp, path)
      } finally {
        await rm(temp, { force: true })
      }
    })
  }

  /** Opens a file to fill; `publish` gives it its name, `dispose` takes away what was not published. */
  begin(): Promise<Draft> {
    return written(this.#archives, async () => {
      removeTorn(this.#cacheDir)
      mkdirSync(this.#archives, { recursive: true, mode: 0o700 })
      const temp = join(this.#archives, `.${randomBytes(8).toString('hex')}.tmp`)
      const file = await open(temp, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
      return new Draft(file, temp, this.#archives)
    })
  }

  /** The name holds the credentials too, hashed: another user's copy of the same URL is another record. */
  #urlPath(url: URL): string {
    return join(this.#urls, `${createHash('sha256').update(url.href).digest('hex')}.json`)
  }
}

class Draft {
  readonly #file: FileHandle
  readonly #temp: string
  readonly #dir: string
  readonly #sha256 = createHash('sha256')
  readonly #md5 = createHash('md5')
  bytes = 0

  constructor(file: FileHandle, temp: string, dir: string) {
    this.#file = file
    this.#temp = temp
    this.#dir = dir
  }

  async write(chunk: Buffer): Promise<void> {
    this.#sha256.update(chunk)
    this.#md5.update(chunk)
    this.bytes += chunk.length
    await written(this.#dir, () => this.#file.writeFile(chunk))
  }

  digests(): { sha256: string; md5: string } {
    return { sha256: this.#sha256.copy().digest('hex'), md5: this.#md5.copy().digest('hex') }
  }

  /** The archive's path. The bytes are on the disk before the name is. */
  async publish(sha256: string): Promise<string> {
    const path = join(this.#dir, sha256)
    await written(this.#dir, async () => {
      await this.#file.sync()
      await rename(this.#temp, path)
    })
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
    await rm(this.#temp, { force: true })
  }
}

async function written<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw new FlistError('FLIST_CACHE_UNUSABLE', `Cannot write to "${dir}": ${systemReason(cause)}`, {
      hint: 'Make room on its disk and see that the folder can be written, or name another with --cache',
      cause,
    })
  }
}

function isUrlRecord(value: UrlRecord): boolean {
  return /^[0-9a-f]{64}$/.test(value.sha256) && Number.isSafeInteger(value.bytes)
}
