import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { FlistError } from '../lib/base/index.ts'

/** What mount(8) says to every file system and means nothing here: said by itself, or of no use to an archive. */
const IGNORED = new Set(
  (
    'rw defaults async sync dirsync atime noatime diratime nodiratime relatime norelatime strictatime ' +
    'nostrictatime lazytime nolazytime iversion noiversion mand nomand silent loud auto noauto dev suid ' +
    'user nouser users nousers owner noowner group nogroup nofail _netdev'
  ).split(' '),
)

/** Other names of our options: what overlayfs says, and what mount(8) would keep to itself. */
const RENAMED: Readonly<Record<string, string>> = {
  upperdir: 'upper',
  allow_other: 'allow-other',
  writable: 'rw',
  setuid: 'suid',
  devices: 'dev',
}

/** What they say is not to be, whatever was said before them or stands in settings. */
const TAKEN_BACK: Readonly<Record<string, string>> = {
  nosuid: 'suid',
  nodev: 'dev',
  exec: 'noexec',
  symfollow: 'nosymfollow',
  ro: 'rw',
}

/** Labels of SELinux, which mount(8) leaves out by itself where the kernel has none. */
const LABELS = new Set(['context', 'fscontext', 'defcontext', 'rootcontext'])

/** mount(8) waits for the mount, so these would never end or never begin. */
const REFUSED = new Set(['foreground', 'help', 'json', 'options', 'bind', 'rbind', 'move'])

/** Words of `mount`, and switches by name that are to be off. */
interface Said {
  readonly words: string[]
  readonly off: Set<string>
}

/**
 * The list after `-o` as words of `mount`. Options are separated by commas; `\,` is a comma, and so is each between double quotes,
 * as fstab(5) has it. Of a switch the last word counts. Throws FLIST_USAGE.
 */
export function optionWords(list: string): string[] {
  return readItems(splitOptions(list)).words
}

function readItems(items: readonly string[]): Said {
  const words: string[] = []
  const off = new Set<string>()
  for (const item of items) {
    const equals = plainOf(item).indexOf('=')
    const said = equals < 0 ? plainOf(item) : item.slice(0, equals)
    const name = RENAMED[said] ?? said
    // `x-systemd.automount` and its like are for others, a comment is for people.
    if (/^x-/i.test(said) || said === 'comment') continue
    if (equals < 0 && IGNORED.has(said)) continue
    if (LABELS.has(said)) {
      refuseLabel(said)
      continue
    }
    // By the kernel alone it would take `nosuid` and `nodev` away: mount(8) does not know that nobody asked for their contrary.
    if (said === 'remount') {
      const hint = 'Unmount it, and mount it again with the options wanted'
      throw new FlistError('FLIST_USAGE', 'Cannot change the options of a mount by "remount"', { hint })
    }
    if (REFUSED.has(name)) {
      const hint = 'Say it as an option of its own, before or behind -o'
      throw new FlistError('FLIST_USAGE', `Cannot use "${said}" after -o`, { hint })
    }
    const contrary = equals < 0 ? TAKEN_BACK[said] : undefined
    if (contrary !== undefined) {
      dropWord(words, `--${contrary}`)
      off.add(contrary)
      continue
    }
    off.delete(name)
    words.push(equals < 0 ? `--${name}` : `--${name}=${item.slice(equals + 1)}`)
  }
  return { words, off }
}

/** `ro=recursive` and `user=NAME` are `ro` and `user` with words for mount(8). */
function plainOf(item: string): string {
  return /^(?:r[ow]=(?:fs|vfs|recursive)|user=.*)$/s.test(item) ? item.slice(0, item.indexOf('=')) : item
}

/** Throws FLIST_USAGE where there are labels: content would be open to others than was meant. */
function refuseLabel(said: string): void {
  if (!/\tselinuxfs$/m.test(readFileSync('/proc/filesystems', 'utf8'))) return
  throw new FlistError('FLIST_USAGE', `Cannot use "${said}" after -o: no labels of SELinux are set`, {
    hint: `Leave "${said}" out, and let the policy allow what is to be read: files have the label of the type fuse`,
  })
}

function dropWord(words: string[], word: string): void {
  for (let at = words.indexOf(word); at >= 0; at = words.indexOf(word)) words.splice(at, 1)
}

function splitOptions(list: string): string[] {
  const items: string[] = []
  let item = ''
  let quoted = false
  for (let at = 0; at < list.length; at += 1) {
    const char = list.charAt(at)
    const next = list.charAt(at + 1)
    if (char === '\\' && (next === ',' || next === '\\' || next === '"')) {
      item += next
      at += 1
    } else if (char === '"') quoted = !quoted
    else if (char === ',' && !quoted) {
      items.push(item)
      item = ''
    } else item += char
  }
  if (quoted) {
    const hint = 'Close the value with ", or write \\" for a quote that is part of it'
    throw new FlistError('FLIST_USAGE', 'Cannot understand the list after -o: a double quote is not closed', { hint })
  }
  return [...items, item].filter((text) => text !== '')
}

/** Reads the lists after `-o` as if their options stood in the command line. Throws FLIST_USAGE, or what the parser says. */
export function applyOptionLists(command: Command, lists: readonly string[]): void {
  const { words, off } = readItems(lists.flatMap(splitOptions))
  const { operands, unknown } = command.parseOptions(words)
  const [stranger] = [...unknown, ...operands]
  if (stranger !== undefined) {
    const name = stranger.replace(/^--/, '').replace(/=.*$/s, '')
    throw new FlistError('FLIST_USAGE', `Cannot understand "${name}" after -o`, {
      hint: 'Options are those of `flistfs mount --help`, as name or name=value',
    })
  }
  if (off.has('rw') && command.getOptionValue('upper') !== undefined) {
    throw new FlistError('FLIST_USAGE', 'Cannot use "ro" after -o beside a folder for changes', {
      hint: 'Leave "ro" out, or "upper"',
    })
  }
  // As if it had been said, so that no setting says the contrary.
  for (const name of off) command.setOptionValueWithSource(name, false, 'cli')
  if (off.has('rw')) command.setOptionValueWithSource('upper', undefined, 'cli')
}
