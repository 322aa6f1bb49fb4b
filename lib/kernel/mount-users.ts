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

/** How many are named in one line. */
const NAMED_MAX = 12

/**
 * Mounts and processes on a mount, in all namespaces, as far as this user may see them. /proc is asked for names; the mount itself,
 * which may hang, is not. Maps are looked at only where it is dead: else who reads them could wait behind a thread that waits for it.
 */
export function findUsers(entry: MountEntry, isDead: boolean): MountUsers {
  const { mounts, folders } = mountsOn(entry, readMounts())
  const namespaces = new Map([[linkOf('/proc/self/ns/mnt'), folders]])
  const processes: ProcessOnTop[] = []
  for (const name of namesIn('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    const found = usesOf(`/proc/${name}`, foldersFor(`/proc/${name}`, entry, namespaces), isDead)
    if (found.uses.length > 0) processes.push({ pid: Number(name), ...found })
  }
  return { mounts, processes }
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

/** The folders of the mount as a process names them: another namespace has a tree of its own. */
function foldersFor(dir: string, entry: MountEntry, namespaces: Map<string, readonly string[]>): readonly string[] {
  const namespace = linkOf(`${dir}/ns/mnt`)
  if (namespace === '') return []
  let folders = namespaces.get(namespace)
  if (folders === undefined) {
    try {
      ;({ folders } = mountsOn(entry, readMounts(`${dir}/mountinfo`)))
    } catch {
      // It has ended.
      return []
    }
    namespaces.set(namespace, folders)
  }
  return folders
}

function usesOf(dir: string, folders: readonly string[], isDead: boolean): Omit<ProcessOnTop, 'pid'> {
  const uses: string[] = []
  if (folders.length > 0) {
    const lies = (path: string): boolean => liesIn(path, folders)
    if (lies(linkOf(`${dir}/root`))) uses.push('root')
    if (lies(linkOf(`${dir}/cwd`))) uses.push('folder')
    if (lies(linkOf(`${dir}/exe`))) uses.push('program')
    const open = namesIn(`${dir}/fd`).filter((fd) => lies(linkOf(`${dir}/fd/${fd}`))).length
    const mapped = isDead ? new Set(mappedBy(dir).filter(lies)).size : 0
    if (open > 0) uses.push(`${open} open file${open > 1 ? 's' : ''}`)
    if (mapped > 0) uses.push(`${mapped} mapped file${mapped > 1 ? 's' : ''}`)
  }
  return { command: uses.length > 0 ? textOf(`${dir}/comm`, 'utf8').trim() : '', uses }
}

/** The last word of each line, which may have blanks in it: proc_pid_maps(5). */
function mappedBy(dir: string): string[] {
  return textOf(`${dir}/maps`, 'utf8')
    .split('\n')
    .map((line) => /^(?:\S+\s+){5}(.+)$/.exec(line)?.[1] ?? '')
}
