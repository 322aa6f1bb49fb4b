import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { FlWriter } from '../../../lib/flist/index.ts'
import { PROJECT } from '../mounted.ts'
import { type ErrorCase, flistfs, fresh, type Place } from './error-case.ts'

export const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const GOLDEN = join(PROJECT, 'fixtures/golden/v1')
const ZEROS = `sha256:${'0'.repeat(64)}`
const FOLDER = 0o040755
const FILE = 0o100644

/** A web server that answers everything in one way. */
export async function webServer({ t }: Place, answer: RequestListener): Promise<string> {
  const server: Server = createServer(answer)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function file(place: Place, name: string, content: string | Buffer): string {
  const path = fresh(place, name)
  writeFileSync(path, content)
  return path
}

function inspect(place: Place, archive: string, ...words: readonly string[]) {
  return flistfs(place, ['inspect', archive, ...words])
}

/** An archive whose file "long" says to be longer than its blocks. */
export function withoutBlocks(place: Place): string {
  const path = fresh(place, 'short.fl')
  const writer = new FlWriter(path)
  const entry = { uid: 0, gid: 0, rdev: 0, ctime: 0, mtime: 0, ctimeNs: 0, mtimeNs: 0, xattrs: [] }
  const root = writer.addInode({ ...entry, parent: 0, name: Buffer.alloc(0), size: 4096, mode: FOLDER })
  writer.addInode({ ...entry, parent: root, name: Buffer.from('long'), size: 1_000_000, mode: FILE })
  writer.addRoute(0, 255, 'dir:///nowhere')
  writer.finish()
  return path
}

export const ARCHIVE_CASES: readonly ErrorCase[] = [
  {
    code: 'FLIST_NOT_FOUND',
    when: 'the path is misspelt',
    provoke: (place) => inspect(place, 'debain.fl'),
    says: /archive "debain\.fl"/,
    hint: /a path, a URL, or user\/name\.flist/,
  },
  {
    code: 'FLIST_NOT_FOUND',
    when: 'a folder is named',
    provoke: (place) => inspect(place, dirname(SAMPLE)),
    says: /sample".*not a regular file/,
    hint: /Name the \.fl or \.flist file/,
  },
  {
    code: 'FLIST_NOT_FOUND',
    when: 'the hub has no such archive',
    provoke: async (place) => {
      const hub = await webServer(place, (_request, response) => void response.writeHead(404).end())
      return inspect(place, 'me/app.flist', '--hub', hub)
    },
    says: /\/me\/app\.flist".*answered 404/,
    hint: /Check the name/,
  },
  {
    code: 'FLIST_NOT_FOUND',
    when: 'the URL gives nothing',
    provoke: async (place) =>
      inspect(place, `${await webServer(place, (_request, response) => void response.end())}/a.fl`),
    says: /\/a\.fl".*is empty/,
    hint: /whoever published it/,
  },
  {
    code: 'FLIST_NOT_FOUND',
    when: 'a digest is pinned that the cache does not know',
    provoke: (place) => flistfs(place, ['cache', 'pin', '0'.repeat(64)]),
    says: /"0{64}" in the cache ".*cache"/,
    hint: /path, URL or name on a hub/,
  },
  {
    code: 'FLIST_FORMAT_UNKNOWN',
    when: 'a web page was kept as an archive',
    provoke: (place) => inspect(place, file(place, 'page.fl', '<html>Welcome</html>')),
    says: /page\.fl".*neither an fl nor a v1 archive/,
    hint: /\.fl or \.flist/,
  },
  {
    code: 'FLIST_FORMAT_UNKNOWN',
    when: 'the server sends a web page',
    provoke: async (place) => {
      const hub = await webServer(place, (_request, response) => void response.end('<html>Welcome</html>'))
      return inspect(place, 'me/app.flist', '--hub', hub)
    },
    says: /read "me\/app\.flist": it is neither/,
    hint: /a web page in the place of the archive/,
  },
  {
    code: 'FLIST_ARCHIVE_DAMAGED',
    when: 'the server has a damaged archive',
    provoke: async (place) => {
      const half = readFileSync(SAMPLE).subarray(0, readFileSync(SAMPLE).length >> 1)
      const url = await webServer(place, (request, response) => {
        if (request.url === '/half.fl') response.end(half)
        else response.writeHead(404).end()
      })
      return inspect(place, `${url}/half.fl`)
    },
    says: /"http:[^"]*\/half\.fl"/,
    hint: /Fetch the archive again/,
  },
  {
    code: 'FLIST_ARCHIVE_DAMAGED',
    when: 'an fl archive was cut in the middle',
    provoke: (place) => {
      const path = file(place, 'half.fl', readFileSync(SAMPLE))
      truncateSync(path, readFileSync(SAMPLE).length >> 1)
      return inspect(place, path)
    },
    says: /half\.fl"/,
    hint: /Fetch the archive again/,
  },
  {
    code: 'FLIST_ARCHIVE_DAMAGED',
    when: 'a v1 archive was cut in the middle',
    provoke: (place) => {
      const whole = readFileSync(join(GOLDEN, 'hand.flist'))
      return inspect(place, file(place, 'half.flist', whole.subarray(0, whole.length >> 1)))
    },
    says: /half\.flist"/,
    hint: /Fetch the archive again/,
  },
  {
    code: 'FLIST_ARCHIVE_DAMAGED',
    when: 'a v1 archive is a tar of something else',
    provoke: (place) => {
      const folder = fresh(place, 'tar')
      mkdirSync(folder)
      writeFileSync(join(folder, 'readme'), 'no database')
      const tar = execFileSync('tar', ['-C', folder, '-c', 'readme'], { timeout: 120_000 })
      return inspect(place, file(place, 'other.flist', gzipSync(tar)))
    },
    says: /other\.flist"/,
    hint: /Fetch the archive again/,
  },
  {
    code: 'FLIST_LIMIT',
    when: 'a server offers a terabyte',
    provoke: async (place) => {
      const url = await webServer(place, (_request, response) => {
        response.writeHead(200, { 'content-length': 2 ** 40 }).flushHeaders()
      })
      return inspect(place, `${url}/huge.fl`)
    },
    says: /\/huge\.fl".*more than \d+ bytes/,
    hint: /that of an archive/,
  },
  {
    code: 'FLIST_DIGEST_MISMATCH',
    when: 'a local archive is not the one pinned',
    provoke: (place) => inspect(place, SAMPLE, '--digest', ZEROS),
    says: /debian\.fl".*0{64}/,
    hint: /Fetch the archive again, or correct the digest/,
  },
  {
    code: 'FLIST_DIGEST_MISMATCH',
    when: 'the hub says another MD5',
    provoke: async (place) => {
      const url = await webServer(place, ({ url: path = '' }, response) => {
        response.end(path.endsWith('.md5') ? '0'.repeat(32) : readFileSync(SAMPLE))
      })
      return inspect(place, `${url}/debian.fl`)
    },
    says: /\/debian\.fl".*0{32}/,
    hint: /Ask whoever published/,
  },
  {
    code: 'FLIST_IMAGE_DAMAGED',
    when: 'an image is no OCI archive',
    provoke: (place) => {
      const image = file(place, 'image.tar', 'no tar at all')
      const words = ['convert', `oci-archive:${image}`, fresh(place, 'app.fl'), '--store', 'dir:///srv/blocks']
      return flistfs(place, words)
    },
    says: /image\.tar"/,
    hint: /again/,
  },
  {
    code: 'FLIST_FILE_TRUNCATED',
    when: 'a file lacks its blocks',
    provoke: (place) => flistfs(place, ['cat', withoutBlocks(place), 'long']),
    says: /"long".*lacks 2 of its blocks/,
    hint: /Make the archive again/,
  },
  {
    code: 'FLIST_FILE_TRUNCATED',
    when: 'a v1 archive lost the last block of a file by rounding',
    provoke: (place) =>
      flistfs(place, ['cat', join(GOLDEN, 'floatbug.flist'), '16MiB-plus-1', '--store', `dir://${GOLDEN}/blocks`]),
    says: /"16MiB-plus-1".*lacks/,
    hint: /Make the archive again/,
  },
]
