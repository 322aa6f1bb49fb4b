import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  lchownSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../../lib/base/index.ts'
import { decodeBlock, prepareCodec } from '../../lib/store/index.ts'
import type { FlTables } from './fl-tables.ts'

const MASK = 0o170000
const LETTER: Readonly<Record<number, string>> = { 0o020000: 'c', 0o060000: 'b', 0o010000: 'p' }

/** Makes the tree of an fl on the disk, as root, from its tables and a folder of blocks. Sockets and what is listed stay out. */
export async function restore(tables: FlTables, store: string, root: string): Promise<{ leftOut: string[] }> {
  await prepareCodec()
  const leftOut: string[] = []
  const paths = [...tables.rows.keys()].sort()
  for (const path of paths) if (!restoreOne(tables, store, root, path)) leftOut.push(path)
  // Folders last: what is put into them changes their times.
  for (const path of paths.reverse()) {
    const row = tables.rows.get(path)!
    if (leftOut.includes(path)) continue
    const to = join(root, path)
    lchownSync(to, row.uid, row.gid)
    if ((row.mode & MASK) !== 0o120000) chmodSync(to, row.mode & 0o7777)
    lutimesSync(to, row.mtime, row.mtime)
  }
  return { leftOut }
}

function restoreOne({ rows }: FlTables, store: string, root: string, path: string): boolean {
  const row = rows.get(path)!
  const to = join(root, path)
  const type = row.mode & MASK
  if (type === 0o040000) mkdirSync(to, { recursive: true })
  else if (type === 0o120000) symlinkSync(Buffer.from(row.target ?? '', 'hex'), to)
  else if (type === 0o100000) writeFile(row.blocks, row.size, store, to)
  else if (LETTER[type] === undefined) return false
  else {
    const numbers =
      type === 0o010000
        ? []
        : [String((row.rdev >>> 8) & 0xfff), String((row.rdev & 0xff) | ((row.rdev >>> 12) & 0xfff00))]
    execFileSync('mknod', [to, LETTER[type]!, ...numbers])
  }
  return true
}

function writeFile(blocks: readonly string[], size: number, store: string, to: string): void {
  writeFileSync(to, '')
  for (const [number, block] of blocks.entries()) {
    const [id = '', key = ''] = block.split(' ')
    const plainBytes = Math.min(LIMITS.blockBytesMax, size - number * LIMITS.blockBytesMax)
    const ref = { format: 'fl', id: Buffer.from(id, 'hex'), key: Buffer.from(key, 'hex'), plainBytes } as const
    appendFileSync(to, decodeBlock(ref, readFileSync(join(store, id.slice(0, 2), id))))
  }
}
