import type { Command, Option } from 'commander'
import { EXAMPLES } from './examples.ts'
import { helperPage, settingsPage } from './man-pages-system.ts'
import { head, lowerFirst, roff, tagged, upperFirst, verbatim } from './man-roff.ts'

/** Where a page's reader goes on. */
const EXIT_CODES = [
  ['0', 'Done.'],
  ['1', 'Failed.'],
  ['2', 'Wrong usage.'],
  ['3', 'Done in part.'],
  ['10', 'No such archive.'],
  ['11', 'A store cannot be reached.'],
  ['12', 'Corrupt data.'],
  ['130', 'Interrupted.'],
] as const

const FILES = [
  ['/etc/flistfs/config.toml', 'Settings of the machine.'],
  ['$XDG_CONFIG_HOME/flistfs/config.toml', 'Settings of the user; they go before those of the machine.'],
  ['/run/flistfs', 'Records of mounts, and the control sockets of their servers.'],
] as const

/** Pages for man(1) by file name: `flistfs.1`, one a verb, and those of the system, from the program that reads the words. */
export function manPages(program: Command, version: string): Map<string, string> {
  const pages = new Map<string, string>()
  const verbs = program.createHelp().visibleCommands(program)
  pages.set('flistfs.1', [...head('FLISTFS', version), ...programPage(program, verbs)].join('\n'))
  for (const verb of verbs) {
    const name = `flistfs-${verb.name()}`
    pages.set(`${name}.1`, [...head(name.toUpperCase(), version), ...verbPage(verb, name)].join('\n'))
  }
  pages.set('mount.flistfs.8', helperPage(program, version))
  pages.set('flistfs.toml.5', settingsPage(program, version))
  return pages
}

function programPage(program: Command, verbs: readonly Command[]): string[] {
  return [
    '.SH NAME',
    `flistfs ${String.raw`\-`} ${roff(lowerFirst(program.description()))}`,
    '.SH SYNOPSIS',
    '.B flistfs',
    String.raw`.IR VERB " [" OPTIONS "] [" ARGUMENTS ]`,
    '.SH DESCRIPTION',
    roff(`${program.description()}. Results go to standard output, errors and warnings to standard error.`),
    roff('With --json a result is one JSON value on one line, and so is an error.'),
    '.SH VERBS',
    ...verbs.flatMap((verb) => tagged(`.BR flistfs\\-${roff(verb.name())} (1)`, `${upperFirst(verb.description())}.`)),
    ...optionsSection(program),
    '.SH EXIT STATUS',
    ...EXIT_CODES.flatMap(([code, what]) => tagged(`.B ${code}`, what)),
    '.SH ENVIRONMENT',
    roff('Each option of mount has a variable: --cache-size is FLISTFS_CACHE_SIZE. Switches are 1 or 0.'),
    'See',
    '.BR flistfs.toml (5).',
    '.SH FILES',
    ...FILES.flatMap(([path, what]) => tagged(`.I ${roff(path)}`, what)),
    ...examplesSection(verbs.flatMap((verb) => (EXAMPLES[verb.name()] ?? []).slice(0, 1))),
    '.SH SEE ALSO',
    [
      ...verbs.map((verb) => `.BR flistfs\\-${roff(verb.name())} (1)`),
      '.BR flistfs.toml (5)',
      '.BR mount.flistfs (8)',
    ].join(',\n'),
    '',
  ]
}

function verbPage(verb: Command, name: string): string[] {
  const below = verb.createHelp().visibleCommands(verb)
  return [
    '.SH NAME',
    `${roff(name)} ${String.raw`\-`} ${roff(verb.description())}`,
    '.SH SYNOPSIS',
    ...(below.length === 0 ? [verb] : below).flatMap((one, nth) => [...(nth === 0 ? [] : ['.br']), synopsis(one)]),
    '.SH DESCRIPTION',
    roff(`${upperFirst(verb.description())}.`),
    ...(verb.aliases().length === 0 ? [] : [roff(`Also called flistfs ${verb.aliases().join(', flistfs ')}.`)]),
    ...argumentsSection(verb),
    ...optionsSection(verb),
    ...below.flatMap((one) => [
      `.SH ${roff(one.name().toUpperCase())}`,
      roff(`${upperFirst(one.description())}.`),
      ...argumentWords(one),
      ...one.createHelp().visibleOptions(one).flatMap(optionWords),
    ]),
    ...examplesSection(EXAMPLES[verb.name()] ?? []),
    '.SH SEE ALSO',
    '.BR flistfs (1)',
    '',
  ]
}

function synopsis(verb: Command): string {
  const names: string[] = []
  for (let at: Command | null = verb; at !== null; at = at.parent) names.unshift(at.name())
  const places = verb.registeredArguments.map((place) => {
    const name = place.name().toUpperCase() + (place.variadic ? ' ...' : '')
    return place.required ? name : `[${name}]`
  })
  return `.B ${roff(names.join(' '))}\n.RI [ OPTIONS ]${places.length === 0 ? '' : `\n.I ${roff(places.join(' '))}`}`
}

function argumentsSection(verb: Command): string[] {
  const words = argumentWords(verb)
  return words.length === 0 ? [] : ['.SH ARGUMENTS', ...words]
}

function argumentWords(verb: Command): string[] {
  return verb.registeredArguments.flatMap((place) => {
    const choices = place.argChoices === undefined ? '' : `: ${place.argChoices.join(', ')}`
    return tagged(`.I ${roff(place.name().toUpperCase())}`, `${upperFirst(place.description)}${choices}.`)
  })
}

function optionsSection(verb: Command): string[] {
  const words = verb.createHelp().visibleOptions(verb).flatMap(optionWords)
  return words.length === 0 ? [] : ['.SH OPTIONS', ...words]
}

function optionWords(option: Option): string[] {
  const choices = option.argChoices === undefined ? '' : `: ${option.argChoices.join(', ')}`
  const ours = option.defaultValue === undefined ? '' : ` (default ${String(option.defaultValue)})`
  return tagged(`.B ${roff(option.flags)}`, `${upperFirst(option.description)}${choices}${ours}.`)
}

function examplesSection(examples: readonly (readonly [string, string])[]): string[] {
  if (examples.length === 0) return []
  const lines = examples.flatMap(([words, what]) => ['.PP', roff(`${what}:`), ...verbatim([`flistfs ${words}`])])
  // A paragraph right behind a heading is none.
  return ['.SH EXAMPLES', ...lines.slice(1)]
}
