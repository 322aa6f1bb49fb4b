import { createHash } from 'node:crypto'
import { describeError, FlistError } from '../../lib/base/index.ts'
import { compileArchive, FlWriter, hashArchive, openIndex } from '../../lib/flist/index.ts'
import type { FlInode, FlistIndex } from '../../lib/flist/index.ts'

export const NEVER = new AbortController().signal

/** Compiles an archive beside `indexPath` and opens the index. */
export async function compiled(archivePath: string, indexPath: string): Promise<FlistIndex> {
  const digest = await hashArchive(archivePath, NEVER)
  await compileArchive(archivePath, indexPath, { digest, signal: NEVER })
  return openIndex(indexPath, digest)
}

/** What is thrown, or undefined. */
export async function thrownBy(work: () => unknown): Promise<unknown> {
  try {
    await work()
    return undefined
  } catch (error) {
    return error
  }
}

export async function codeOf(work: () => unknown): Promise<string> {
  const error = await thrownBy(work)
  if (error === undefined) return 'nothing thrown'
  return error instanceof FlistError ? error.code : `not a FlistError: ${describeError(error)}`
}

/** 32 bytes that go with a word. */
export function hashOf(word: string): Buffer {
  return createHash('sha256').update(word).digest()
}

export const ATTRIBUTES = { size: 0, uid: 0, gid: 0, rdev: 0, ctime: 1_700_000_000, mtime: 1_600_000_000 } as const

export function folder(parent: number, name: string | Buffer, more: Partial<FlInode> = {}): FlInode {
  return { ...ATTRIBUTES, mode: 0o40755, parent, name: Buffer.from(name), ...more }
}

export function file(parent: number, name: string | Buffer, more: Partial<FlInode> = {}): FlInode {
  return { ...ATTRIBUTES, mode: 0o100644, parent, name: Buffer.from(name), ...more }
}

/** Writes an archive: a root, then what `fill` adds. */
export function writeArchive(path: string, fill: (writer: FlWriter) => void): void {
  using writer = new FlWriter(path)
  writer.addInode(folder(0, ''))
  fill(writer)
  writer.finish()
}

/** Row of a path, or -1. */
export function rowAt(index: FlistIndex, path: string): number {
  let row = 0
  for (const part of path.split('/').filter((each) => each !== '')) {
    const name = Buffer.from(part)
    row = index.find(row, name, 0, name.length)
    if (row < 0) return -1
  }
  return row
}

export function secondsAt(times: Int32Array, row: number): bigint {
  return (BigInt(times[row * 2 + 1] ?? 0) << 32n) | BigInt((times[row * 2] ?? 0) >>> 0)
}

/** Checks what every index promises, whatever the archive. */
export function brokenPromise(index: FlistIndex): string | undefined {
  const seen = new Uint8Array(index.rowCount)
  let next = 1
  for (let row = 0; row < index.rowCount; row += 1) {
    const leader = index.leader[row] ?? -1
    if (leader > row || index.leader[leader] !== leader) return `row ${row} has leader ${leader}`
    if (((index.mode[row] ?? 0) & 0o170000) !== 0o040000) continue
    const count = index.count[row] ?? 0
    if (count > 0 && index.first[row] !== next) return `children of row ${row} do not begin at ${next}`
    for (let child = next; child < next + count; child += 1) {
      if (index.parent[child] !== row) return `row ${child} is not in row ${row}`
      if (child > next && Buffer.compare(index.nameOf(child - 1), index.nameOf(child)) >= 0) return `row ${child} order`
      const name = index.nameOf(child)
      if (index.find(row, name, 0, name.length) !== child) return `row ${child} is not found`
      seen[child] = 1
    }
    next += count
  }
  return next === index.rowCount ? undefined : `${next} rows of ${index.rowCount} are in folders`
}
