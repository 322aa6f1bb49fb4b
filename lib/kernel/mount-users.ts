import { linkOf, namesIn, textOf } from '../base/index.ts'
import { type MountEntry, readMounts } from './mount-info.ts'
import { liesIn, type MountOnTop, mountsOn } from './mounts-on.ts'

/** What stands on a mount: it keeps a plain unmount away, and is cut off with a mount that is dead. */
export interface MountUsers {
  readonly mounts: readonly MountOnTop[]
  readonly processes: readonly ProcessOnTop[]
}

export interface ProcessOnTop {
  readonly pid: number
  /** The program's name, of which the kernel keeps 15 bytes. Never its words, which may be secrets. */
  readonly command: string
  /** What of it lies there: `root`, `folder`, `program`, `2 open files`, `1 mapped file`. */
  readonly uses: readonly string[]
}

export const NOBODY: MountUsers = { mounts: [], processes: [] }

/** How many are named in one line. */
const NAMED_MAX = 12

/**
 * Mounts and processes on a mount, in all namespaces, as far as this user may see them. /proc is asked for names; the mount itself,
 * which may hang, is not. Maps are looked at only where it is dead: else who reads them could wait behind a thread that waits for it.
 */
export function findUsers(entry: MountEntry, isDead: boolean): MountUsers {
  return findUsersOfEach([entry], isDead).get(entry) ?? NOBODY
}

/** The same for several at once: to look through all of /proc takes a tenth of a second. `areDead`: all of them. */
export function findUsersOfEach(entries: readonly MountEntry[], areDead: boolean): Map<MountEntry, MountUsers> {
  if (entries.length === 0) return new Map()
  const here = readMounts()
  const standing = entries.map((entry) => mountsOn(entry, here))
  const found = standing.map(({ mounts }) => ({ mounts, processes: [] as ProcessOnTop[] }))
  const namespaces = new Map([[linkOf('/proc/self/ns/mnt'), standing.map(({ folders }) => folders)]])
  for (const name of namesIn('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    const dir = `/proc/${name}`
    const folders = foldersFor(dir, entries, namespaces)
    if (folders.every(({ length }) => length === 0)) continue
    const paths = pathsOf(dir, areDead)
    for (const [nth, { processes }] of found.entries()) {
      const uses = usesOf(paths, folders[nth] ?? [])
      if (uses.length === 0) continue
      processes.push({ pid: Number(name), command: textOf(`${dir}/comm`, 'utf8').trim(), uses })
    }
  }
  return new Map(entries.map((entry, nth) => [entry, found[nth] ?? NOBODY]))
}

/** A text for each of them. */
export function describeUsers({ mounts, processes }: MountUsers): string[] {
  return [
    ...mounts.map(({ directory, how, type }) => `${how === 'inside' ? type : how} on "${directory}"`),
    ...processes.map(({ pid, command, uses }) => `${command} (${pid}: ${uses.join(', ')})`),
  ]
}

/** All in one line; '' where there are none. */
export function nameUsers(users: MountUsers): string {
  const texts = describeUsers(users)
  const left = texts.length - NAMED_MAX
  return [...texts.slice(0, NAMED_MAX), ...(left > 0 ? [`${left} more`] : [])].join(', ')
}

/** The folders of each mount as a process names them: another namespace has a tree of its own. */
function foldersFor(
  dir: string,
  entries: readonly MountEntry[],
  namespaces: Map<string, readonly (readonly string[])[]>,
): readonly (readonly string[])[] {
  const namespace = linkOf(`${dir}/ns/mnt`)
  if (namespace === '') return []
  let folders = namespaces.get(namespace)
  if (folders === undefined) {
    try {
      const mounts = readMounts(`${dir}/mountinfo`)
      folders = entries.map((entry) => mountsOn(entry, mounts).folders)
    } catch {
      // It has ended.
      return []
    }
    namespaces.set(namespace, folders)
  }
  return folders
}

/** What a process has of files. */
interface ProcessPaths {
  readonly root: string
  readonly folder: string
  readonly program: string
  readonly open: readonly string[]
  readonly mapped: readonly string[]
}

function pathsOf(dir: string, withMaps: boolean): ProcessPaths {
  return {
    root: linkOf(`${dir}/root`),
    folder: linkOf(`${dir}/cwd`),
    program: linkOf(`${dir}/exe`),
    open: namesIn(`${dir}/fd`).map((fd) => linkOf(`${dir}/fd/${fd}`)),
    mapped: withMaps ? [...new Set(mappedBy(dir))] : [],
  }
}

function usesOf({ root, folder, program, open, mapped }: ProcessPaths, folders: readonly string[]): string[] {
  if (folders.length === 0) return []
  const lies = (path: string): boolean => liesIn(path, folders)
  const uses: string[] = []
  if (lies(root)) uses.push('root')
  if (lies(folder)) uses.push('folder')
  if (lies(program)) uses.push('program')
  for (const [what, count] of [
    ['open', open.filter(lies).length],
    ['mapped', mapped.filter(lies).length],
  ] as const) {
    if (count > 0) uses.push(`${count} ${what} file${count > 1 ? 's' : ''}`)
  }
  return uses
}

/** The last word of each line, which may have blanks in it: proc_pid_maps(5). */
function mappedBy(dir: string): string[] {
  return textOf(`${dir}/maps`, 'utf8')
    .split('\n')
    .map((line) => /^(?:\S+\s+){5}(.+)$/.exec(line)?.[1] ?? '')
}
