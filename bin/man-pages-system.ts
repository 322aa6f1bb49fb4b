import type { Command, Option } from 'commander'
import { head, roff, tagged, upperFirst, verbatim } from './man-roff.ts'
import { isHidden, isSettable, takesSettings, variableOf } from './settings.ts'

/** What mount(8) keeps to itself has another name behind -o. */
const AFTER_O: Readonly<Record<string, string>> = { rw: 'writable', suid: 'setuid', dev: 'devices' }

const HELPER_EXIT_CODES = [
  ['0', 'It is mounted.'],
  ['1', 'Wrong usage.'],
  ['8', 'Interrupted.'],
  ['32', 'It could not be mounted.'],
] as const

const PLACES = [
  ['/etc/flistfs/config.toml', 'The machine.'],
  ['$XDG_CONFIG_HOME/flistfs/config.toml', 'The user; ~/.config where that is not set.'],
  ['$FLISTFS_CONFIG', 'A file that is named; an empty name means that no file is read.'],
] as const

const OTHER_VARIABLES = [
  ['FLISTFS_CONFIG', 'A settings file that goes before the others.'],
  ['FLISTFS_RUNTIME', 'The folder of the records of mounts.'],
  ['FLISTFS_CA_FILE', 'PEM of authorities trusted beside the known ones.'],
  ['FLISTFS_NODE', 'The Node.js to run.'],
] as const

/** `mount.flistfs.8`: how mount(8) and fstab say the options of `mount`. */
export function helperPage(program: Command, version: string): string {
  return [
    ...head('MOUNT.FLISTFS', version, 8),
    '.SH NAME',
    String.raw`mount.flistfs \- mount an archive by mount(8) and /etc/fstab`,
    '.SH SYNOPSIS',
    String.raw`.B mount \-t flistfs`,
    String.raw`.RI [ "\-o OPTIONS" "] ARCHIVE DIRECTORY"`,
    '.SH DESCRIPTION',
    roff('The helper that mount(8) calls for the type flistfs, or fuse.flistfs. It ends when the tree is there.'),
    roff(
      'ARCHIVE is a path, a URL, or user/name.flist on a hub. A mount is read-only, and honours neither setuid bits nor',
    ),
    roff('devices, unless its options say so. They cannot be changed by remount.'),
    '.SH OPTIONS',
    roff(
      'Separated by commas. A comma in a value is written \\, or the value stands between double quotes; a blank in',
    ),
    roff(
      '/etc/fstab is \\040. Options that are for mount(8) or systemd, and those without a meaning here, are accepted.',
    ),
    ...optionsOf(program, 'mount')
      .filter(isSettable)
      .flatMap((option) => described(option, '=')),
    ...tagged('.BR nosuid , " nodev" , " exec" , " symfollow" , " ro"', 'Go before settings that say the contrary.'),
    '.SH EXIT STATUS',
    ...HELPER_EXIT_CODES.flatMap(([code, what]) => tagged(`.B ${code}`, what)),
    '.SH EXAMPLES',
    roff('A line of /etc/fstab:'),
    ...verbatim(['user/debian.flist  /mnt/debian  flistfs  _netdev,nofail,cache-size=20G  0 0']),
    '.PP',
    roff('Writable, with the changes in a folder:'),
    ...verbatim(['mount -t flistfs debian.fl /mnt/debian -o upperdir=/srv/changes']),
    '.SH SEE ALSO',
    String.raw`.BR flistfs\-mount (1),`,
    '.BR flistfs.toml (5),',
    '.BR fstab (5),',
    '.BR mount (8)',
    '',
  ].join('\n')
}

/** `flistfs.toml.5`: settings files and variables. */
export function settingsPage(program: Command, version: string): string {
  const verbs = program.commands.filter((verb) => takesSettings(verb) && !isHidden(program, verb))
  return [
    ...head('FLISTFS.TOML', version, 5),
    '.SH NAME',
    String.raw`flistfs.toml \- settings of flistfs`,
    '.SH SYNOPSIS',
    ...PLACES.flatMap(([path], nth) => [...(nth === 0 ? [] : ['.br']), `.I ${roff(path)}`]),
    '.SH DESCRIPTION',
    roff(
      'What the words of a command leave out, variables say, and then settings files, later ones of this list first:',
    ),
    ...PLACES.flatMap(([path, what]) => tagged(`.I ${roff(path)}`, what)),
    '.PP',
    roff(
      'Files are TOML. Keys are long options without their dashes, below [defaults] or the name of a verb, which goes',
    ),
    roff(
      'first. Switches are true or false; an option that may be repeated takes a list. An unknown key is an error that',
    ),
    roff('names file and line. Write whole paths. What is in force is shown by'),
    String.raw`.BR flistfs\-config (1).`,
    ...verbs.flatMap((verb) => {
      const options = optionsBelow(verb).filter(isSettable)
      if (options.length === 0) return []
      const keys = [...new Set(options.map(({ long }) => long?.slice(2) ?? ''))]
      return [
        `.SS [${roff(verb.name())}]`,
        ...(verb.name() === 'mount' ? mountKeys(options) : [roff(`${keys.join(', ')}.`)]),
      ]
    }),
    '.SH ENVIRONMENT',
    roff('Each option of mount has a variable, which other verbs with that option heed too. Switches are 1 or 0.'),
    ...optionsOf(program, 'mount')
      .filter(isSettable)
      .flatMap((option) => ['.br', `.B ${variableOf(option)}`]),
    ...OTHER_VARIABLES.flatMap(([name, what]) => tagged(`.B ${name}`, what)),
    '.SH EXAMPLES',
    roff('One cache for all, and what mounts wait for:'),
    ...verbatim(['[defaults]', 'cache = "/srv/flistfs/cache"', '', '[mount]', 'timeout = "2m"', 'suid = true']),
    '.SH SEE ALSO',
    '.BR flistfs (1),',
    String.raw`.BR flistfs\-config (1)`,
    '',
  ].join('\n')
}

function mountKeys(options: readonly Option[]): string[] {
  return options.flatMap((option) => described(option, ' = '))
}

/** `cache\-size=SIZE`, and what it is. */
function described(option: Option, equals: '=' | ' = '): string[] {
  const long = option.long?.slice(2) ?? ''
  const name = equals === '=' ? (AFTER_O[long] ?? long) : long
  const value = /<(.*)>$/.exec(option.flags)?.[1]
  const choices = option.argChoices === undefined ? '' : `: ${option.argChoices.join(', ')}`
  const tag =
    value === undefined
      ? `.B ${roff(name)}`
      : `.BI ${roff(name)}${equals === '=' ? '= ' : ' " = '}${roff(value)}${equals === '=' ? '' : '"'}`
  return tagged(tag, `${upperFirst(option.description)}${choices}.`)
}

function optionsOf(program: Command, name: string): readonly Option[] {
  return program.commands.find((verb) => verb.name() === name)?.options ?? []
}

function optionsBelow(verb: Command): readonly Option[] {
  return [...verb.options, ...verb.commands.flatMap(optionsBelow)]
}
