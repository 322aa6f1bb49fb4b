import { readFileSync } from 'node:fs'

/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)). Paths are as the kernel says them, unescaped. */
export interface MountEntry {
  readonly id: number
  readonly parent: number
  /** Device number `major:minor`; for FUSE the major is 0 and the minor names the connection under fusectl. */
  readonly major: number
  readonly minor: number
  readonly root: string
  readonly directory: string
  readonly options: string
  readonly type: string
  readonly source: string
  readonly superOptions: string
}

/** The type our mounts have. */
export const MOUNT_TYPE = 'fuse.flistfs'
/** Zero-OS looks for this one: its mounters all say so, and so do we when we are called in their place. */
const ZERO_OS_TYPE = 'fuse.g8ufs'

/** True for a type that our mounts may have. Mounters of others have the second one too: ask a record whose it is. */
export function isOurType(type: string): boolean {
  return type === MOUNT_TYPE || type === ZERO_OS_TYPE
}

/** All mounts this process can see, in the order they were made. */
export function readMounts(path = '/proc/self/mountinfo'): MountEntry[] {
  return parseMounts(readFileSync(path, 'utf8'))
}

/** Lines that are not understood are left out. */
export function parseMounts(text: string): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const words = line.split(' ')
    // Optional fields end with a lone "-".
    const dash = words.indexOf('-', 6)
    const [id, parent, device, root, directory, options] = words
    const [type, source, superOptions] = dash < 0 ? [] : words.slice(dash + 1)
    if (directory === undefined || root === undefined || options === undefined || type === undefined) continue
    const [major, minor] = (device ?? '').split(':')
    entries.push({
      id: Number(id),
      parent: Number(parent),
      major: Number(major),
      minor: Number(minor),
      root: unescapeOctal(root),
      directory: unescapeOctal(directory),
      options,
      type,
      source: unescapeOctal(source ?? ''),
      superOptions: superOptions ?? '',
    })
  }
  return entries
}

/** Space, tab, newline and backslash stand as `\040` and so on. */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** The mount that is seen at `directory`: the last one made there. */
export function topMount(mounts: readonly MountEntry[], directory: string): MountEntry | undefined {
  return mounts.findLast((entry) => entry.directory === directory)
}
