// Prints what is under a folder, one JSON value a line: sh bin/node walk.ts FOLDER [names]. With `names` no file is read.
import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, writeSync } from 'node:fs'

const [root = '', how] = process.argv.slice(2)
const SLASH = Buffer.from('/')
const buffer = Buffer.allocUnsafe(1024 * 1024)
let lines: string[] = []

function walk(path: Buffer, name: Buffer): void {
  const stat = lstatSync(path, { bigint: true })
  lines.push(
    JSON.stringify({
      path: name.toString('hex'),
      type: Number(stat.mode >> 12n),
      mode: Number(stat.mode & 0o7777n),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size: Number(stat.size),
      mtimeNs: String(stat.mtimeNs),
      ctimeNs: String(stat.ctimeNs),
      nlink: Number(stat.nlink),
      ino: String(stat.ino),
      rdev: String(stat.rdev),
      ...(stat.isSymbolicLink() ? { target: readlinkSync(path, 'buffer').toString('hex') } : {}),
      ...(stat.isFile() && how !== 'names' ? content(path) : {}),
    }),
  )
  if (lines.length > 1000) flush()
  if (!stat.isDirectory()) return
  const children = readdirSync(path, 'buffer').toSorted((a, b) => a.compare(b))
  for (const child of children) {
    walk(Buffer.concat([path, SLASH, child]), name.length === 0 ? child : Buffer.concat([name, SLASH, child]))
  }
}

/** The file's digest, or the error that reading it ends with and the bytes before that. */
function content(path: Buffer): { sha256?: string; error?: string; bytes?: number } {
  const hash = createHash('sha256')
  const fd = openSync(path, 'r')
  let bytes = 0
  try {
    for (;;) {
      const got = readSync(fd, buffer, 0, buffer.length, bytes)
      if (got === 0) return { sha256: hash.digest('hex') }
      hash.update(buffer.subarray(0, got))
      bytes += got
    }
  } catch (error) {
    return { error: error instanceof Error && 'code' in error ? String(error.code) : String(error), bytes }
  } finally {
    closeSync(fd)
  }
}

function flush(): void {
  const bytes = Buffer.from(`${lines.join('\n')}\n`)
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at)
  lines = []
}

walk(Buffer.from(root), Buffer.alloc(0))
flush()
