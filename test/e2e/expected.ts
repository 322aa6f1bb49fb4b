import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { type Lab, type Mounted } from './mounted.ts'

/** One entry as `children/walk.ts` prints it. Names and targets are hex. */
export interface Entry {
  path: string
  /** The type bits of st_mode, shifted down. */
  type: number
  mode: number
  uid: number
  gid: number
  size: number
  mtimeNs: string
  ctimeNs: string
  nlink: number
  ino: string
  rdev: string
  target?: string
  sha256?: string
  /** What reading ended with, and the bytes before. */
  error?: string
  bytes?: number
}

/** One entry of a golden manifest; test data, described in the golden set's README. */
interface ManifestEntry {
  path: string | null
  path_hex?: string
  type: string
  mode: string
  uid: number
  gid: number
  size: number
  mtime: number
  ctime: number
  nlink: number
  target?: string
  target_hex?: string
  rdev?: [number, number]
  sha256?: string
}

export const TYPE = { fifo: 1, char: 2, dir: 4, block: 6, file: 8, symlink: 10, socket: 12 } as const

/** What is compared: what an archive carries, and what follows from it. `ino` has no expectation but to be unique. */
export type Facts = Omit<Entry, 'ino' | 'error' | 'bytes'>

/** The tree of a manifest, by hex path, as an archive that carries whole seconds and no hard links shows it. */
export function readManifest(path: string): Map<string, Facts> {
  const { entries } = JSON.parse(readFileSync(path, 'utf8')) as { entries: ManifestEntry[] }
  const tree = new Map<string, Facts>()
  for (const entry of entries) {
    const facts = factsOf(entry)
    tree.set(facts.path, facts)
  }
  return tree
}

function factsOf(entry: ManifestEntry): Facts {
  const type = TYPE[entry.type as keyof typeof TYPE]
  const [major, minor] = entry.rdev ?? [0, 0]
  const target =
    entry.target_hex ?? (entry.target === undefined ? undefined : Buffer.from(entry.target).toString('hex'))
  return {
    path: entry.path_hex ?? Buffer.from(entry.path ?? '').toString('hex'),
    type,
    mode: Number.parseInt(entry.mode, 8),
    uid: entry.uid,
    gid: entry.gid,
    size: entry.size,
    mtimeNs: String(BigInt(entry.mtime) * 1_000_000_000n),
    ctimeNs: String(BigInt(entry.ctime) * 1_000_000_000n),
    // Neither format's own tables carry hard links; folders count their sub-folders.
    nlink: type === TYPE.dir ? entry.nlink : 1,
    rdev: String(makedev(major, minor)),
    ...(target === undefined ? {} : { target }),
    ...(entry.sha256 === undefined ? {} : { sha256: entry.sha256 }),
  }
}

/** glibc's encoding of a device number. */
export function makedev(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)]
  return ((high & 0xffff_f000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffff_ff00n) << 12n) | (low & 0xffn)
}

/** Walks a mount in another process. With `names` no file is read. */
export async function walk(lab: Lab, directory: string, how: 'content' | 'names' = 'content'): Promise<Entry[]> {
  const done = await lab.script('walk.ts', [directory, how])
  if (done.code !== 0) throw new Error(`walk ended with ${done.code}: ${done.stderr}`)
  return done.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Entry)
}

/** Compares a mount with what is expected, entry by entry; says at most ten differences. */
export async function compareTree(
  t: Test,
  lab: Lab,
  mounted: Mounted,
  expected: ReadonlyMap<string, Facts>,
): Promise<void> {
  const entries = await walk(lab, mounted.directory)
  const differences: string[] = []
  for (const entry of entries) {
    const wanted = expected.get(entry.path)
    if (wanted === undefined) differences.push(`${printable(entry.path)} is too many`)
    else differences.push(...compareEntry(entry, wanted))
  }
  const found = new Set(entries.map(({ path }) => path))
  for (const path of expected.keys()) if (!found.has(path)) differences.push(`${printable(path)} is missing`)
  t.strictSame(differences.slice(0, 10), [], `${entries.length} entries are as the manifest says`)
  const inodes = new Set(entries.map(({ ino }) => ino))
  t.equal(inodes.size, entries.length, 'each entry has an inode number of its own')
}

function compareEntry(entry: Entry, wanted: Facts): string[] {
  const { ino: _ino, bytes: _bytes, ...is } = entry
  const keys = new Set([...Object.keys(is), ...Object.keys(wanted)])
  const differences: string[] = []
  for (const key of keys) {
    const [has, should]: unknown[] = [Reflect.get(is, key), Reflect.get(wanted, key)]
    if (has !== should)
      differences.push(`${printable(entry.path)}: ${key} is ${String(has)}, expected ${String(should)}`)
  }
  return differences
}

function printable(path: string): string {
  return JSON.stringify(Buffer.from(path, 'hex').toString('latin1'))
}

/** The lines of a mount's log that have this level. */
export function linesOf(mounted: Mounted, level: 'error' | 'warn'): string[] {
  return readFileSync(mounted.log, 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[1] === level)
}
