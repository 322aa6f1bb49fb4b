import { chmodSync, copyFileSync, linkSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../../lib/base/index.ts'
import { packTree } from '../e2e/pack-tree.ts'
import type { Random } from './random.ts'

const BLOCK = LIMITS.blockBytesMax
const FOLDERS = 12
const SMALL_FILES = 600
const MIDDLE_FILES = 40
const SIZES = [0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK]
/** Of files that 200 readers share. */
const SHARED_FILES = 4
const SHARED_BYTES = 3 * BLOCK + 777
/** A file that has a segment of its own. */
const LARGE_BYTES = LIMITS.ownSegmentBytesMin + 5 * BLOCK + 123

/** A file tree on disk, and the same packed. */
export interface Packed {
  readonly reference: string
  readonly archive: string
  readonly store: string
}

/** Makes the tree that all readers compare with, and packs it. */
export async function makeTree(dir: string, random: Random): Promise<Packed> {
  const reference = join(dir, 'reference')
  mkdirSync(reference)
  const folders = [reference]
  for (let nth = 0; nth < FOLDERS; nth += 1) {
    const folder = join(random.pick(folders), `folder-${nth}`)
    mkdirSync(folder)
    folders.push(folder)
  }
  const files: string[] = []
  const put = (name: string, bytes: number): void => {
    const path = join(random.pick(folders), name)
    writeFileSync(path, contentOf(random, bytes), { mode: random.pick([0o644, 0o600, 0o755]) })
    files.push(path)
  }
  for (const bytes of SIZES) put(`size-${bytes}`, bytes)
  for (let nth = 0; nth < SMALL_FILES; nth += 1) put(`small-${nth}`, random.int(0, 8000))
  for (let nth = 0; nth < MIDDLE_FILES; nth += 1) put(`middle-${nth}`, random.int(100_000, 5 * BLOCK))
  for (let nth = 0; nth < 20; nth += 1) {
    const path = random.pick(files)
    symlinkSync(path.slice(reference.length), join(random.pick(folders), `link-${nth}`))
    linkSync(path, join(random.pick(folders), `hard-${nth}`))
  }
  for (let nth = 0; nth < SHARED_FILES; nth += 1) {
    writeFileSync(join(reference, `shared-${nth}`), contentOf(random, SHARED_BYTES))
  }
  writeFileSync(join(reference, 'large'), contentOf(random, LARGE_BYTES))
  copyFileSync(realpathSync('/bin/sh'), join(reference, 'sh'))
  chmodSync(join(reference, 'sh'), 0o755)
  const [archive, store] = [join(dir, 'tree.fl'), join(dir, 'store')]
  mkdirSync(store)
  await packTree(reference, archive, store, new Map())
  return { reference, archive, store }
}

/** Random in its first kilobyte, then that with the position in each line, so that no two blocks are alike. */
function contentOf(random: Random, bytes: number): Buffer {
  const out = Buffer.allocUnsafe(bytes)
  const line = random.bytes(1024)
  for (let at = 0; at < bytes; at += line.length) {
    line.writeUInt32LE(at, 0)
    line.writeUInt32LE(random.int(0, 2 ** 32), 512)
    line.copy(out, at)
  }
  return out
}
