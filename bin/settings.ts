import type { Command, Option } from 'commander'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { configHome, FlistError, systemReason } from '../lib/base/index.ts'
import type { FileSetting } from '../lib/commands/settings-files.ts'
import { isRepeatable } from './verb.ts'

/** What the verb is for, not how it is done: these are said each time. */
const SAID_EACH_TIME = new Set(['json', 'foreground', 'options', 'watch', 'help', 'version'])

/** These must work whatever a settings file says. */
const WITHOUT_SETTINGS = new Set(
  ['umount', 'list', 'stats', 'why', 'log-level', 'trace', 'demo', 'completion', 'config', 'upgrade', 'setup'].concat(
    'resume',
  ),
)

/** A setting in force, before the words. */
export interface Setting {
  readonly option: Option
  readonly values: readonly (string | boolean)[]
  /** `FLISTFS_TIMEOUT`, or `/etc/flistfs/config.toml:3`. */
  readonly from: string
  readonly source: 'env' | 'config'
}

/** Where settings may stand, later ones over earlier ones. An empty FLISTFS_CONFIG: nowhere. */
export function settingsPlaces(env: NodeJS.ProcessEnv = process.env): string[] {
  const named = env['FLISTFS_CONFIG']
  if (named === '') return []
  const user = join(configHome(env), 'flistfs/config.toml')
  return ['/etc/flistfs/config.toml', user, ...(named === undefined ? [] : [named])]
}

/**
 * Gives the options of a verb that the words left out the values of the environment, then of the settings files. Without a
 * file this costs one stat a place; `whole` makes the whole command line, which a file may speak of. Throws FLIST_USAGE for a
 * setting that is none, wherever in a file it stands.
 */
export async function applySettings(whole: () => Command, verb: Command): Promise<void> {
  if (verb.parent === null || WITHOUT_SETTINGS.has(topVerb(verb).name())) return
  for (const { option, values, source } of await settingsOf(whole, verb)) {
    const name = option.attributeName()
    const said = verb.getOptionValueSource(name)
    if (said !== undefined && said !== 'default') continue
    let value: unknown
    for (const one of values) {
      if (typeof one === 'boolean') value = one !== option.negate
      else value = option.parseArg === undefined ? one : option.parseArg(one, value)
    }
    verb.setOptionValueWithSource(name, value, source)
  }
}

/** The settings in force for a verb: one an option, the environment before the files, later files before earlier ones. */
export async function settingsOf(whole: () => Command, verb: Command): Promise<Setting[]> {
  const inFiles = await fileSettings(whole)
  const section = topVerb(verb).name()
  const found: Setting[] = []
  for (const option of verb.options.filter(isSettable)) {
    const name = option.long?.slice(2) ?? ''
    const setting = (await fromEnvironment(whole, verb, option)) ?? fromFiles(inFiles, section, name, option)
    if (setting !== undefined) found.push(setting)
  }
  return found
}

/** Every option that may stand in a settings file or the environment. */
export function isSettable(option: Option): boolean {
  return option.long !== undefined && !option.hidden && !SAID_EACH_TIME.has(option.long.slice(2))
}

export function takesSettings(verb: Command): boolean {
  return !WITHOUT_SETTINGS.has(verb.name())
}

/** `--cache-size` is FLISTFS_CACHE_SIZE. */
export function variableOf(option: Option): string {
  return `FLISTFS_${(option.long ?? '').slice(2).replaceAll('-', '_').toUpperCase()}`
}

/** Options of `mount`, wherever they stand: a variable means the same to all verbs. */
async function fromEnvironment(whole: () => Command, verb: Command, option: Option): Promise<Setting | undefined> {
  const variable = variableOf(option)
  const text = process.env[variable]?.trim()
  if (text === undefined || text === '' || !isOfMount(whole, verb, option)) return
  const values = isSwitch(option) ? [asSwitch(variable, text)] : isRepeatable(option) ? text.split(/\s+/) : [text]
  const { checkValues } = await import('./setting-values.ts')
  await checkValues(option, values, (why, hint) => {
    return new FlistError('FLIST_USAGE', `Cannot use "${variable}": ${why}`, {
      hint: hint ?? `Change the variable ${variable}, or unset it`,
    })
  })
  return { option, values, from: variable, source: 'env' }
}

function isOfMount(whole: () => Command, verb: Command, { long }: Option): boolean {
  if (topVerb(verb).name() === 'mount') return true
  const mount = whole().commands.find((command) => command.name() === 'mount')
  return mount?.options.some((option) => option.long === long) ?? false
}

function asSwitch(variable: string, text: string): boolean {
  if (/^(?:1|true|yes|on)$/i.test(text)) return true
  if (/^(?:0|false|no|off)$/i.test(text)) return false
  throw new FlistError('FLIST_USAGE', `Cannot use "${variable}": "${text}" is neither 1 nor 0`, {
    hint: `Set ${variable} to 1 or 0, or unset it`,
  })
}

function fromFiles(
  inFiles: readonly FileSetting[],
  section: string,
  name: string,
  option: Option,
): Setting | undefined {
  const files = [...new Set(inFiles.map(({ file }) => file))].toReversed()
  for (const file of files) {
    const here = inFiles.filter((setting) => setting.file === file && setting.key === name)
    const setting =
      here.find((candidate) => candidate.section === section) ??
      here.find((candidate) => candidate.section === 'defaults')
    if (setting === undefined) continue
    return { option, values: valuesOf(setting), from: `${setting.file}:${setting.line}`, source: 'config' }
  }
  return undefined
}

/** What all files say, checked. */
async function fileSettings(whole: () => Command): Promise<FileSetting[]> {
  const places = settingsPlaces().filter((place) => isThere(place) || place === process.env['FLISTFS_CONFIG'])
  if (places.length === 0) return []
  const program = whole()
  const { readSettingsFile, wrong } = await import('../lib/commands/settings-files.ts')
  const { checkValues } = await import('./setting-values.ts')
  const settings = places.flatMap((place) => readSettingsFile(place))
  for (const setting of settings) {
    const no = (why: string, hint?: string): FlistError => wrong(setting.file, setting.line, why, hint)
    const option = optionOf(program, setting, no)
    if (option === undefined) continue
    const values = valuesOf(setting)
    // Dates and tables are none.
    const said = [setting.value].flat().length
    const right =
      said > 0 && values.length === said && values.every((value) => (typeof value === 'boolean') === isSwitch(option))
    if (!right) throw no(`"${setting.key}" wants ${isSwitch(option) ? 'true or false' : 'a text or a number'}`)
    await checkValues(option, values, (why, hint) => no(`"${setting.key}": ${why}`, hint))
  }
  return settings
}

function isThere(place: string): boolean {
  try {
    return statSync(place, { throwIfNoEntry: false }) !== undefined
  } catch (cause) {
    throw new FlistError('FLIST_USAGE', `Cannot read the settings in "${place}": ${systemReason(cause)}`, {
      hint: 'Make it readable, or name another file in FLISTFS_CONFIG (empty: none)',
      cause,
    })
  }
}

function optionOf(
  program: Command,
  { section, key }: FileSetting,
  no: (why: string) => FlistError,
): Option | undefined {
  const verbs = program.commands.filter((command) => takesSettings(command) && !isHidden(program, command))
  const asked = section === 'defaults' ? verbs : verbs.filter((command) => command.name() === section)
  if (asked.length === 0) throw no(`there are no settings of "${section}"`)
  if (key === '') return undefined
  const option = asked.flatMap(optionsOf).find((candidate) => candidate.long === `--${key}` && isSettable(candidate))
  if (option === undefined)
    throw no(`"${key}" is no option${section === 'defaults' ? '' : ` of "${section}"`} that may be set`)
  return option
}

/** Of a verb and of those below it. */
function optionsOf(verb: Command): readonly Option[] {
  return [...verb.options, ...verb.commands.flatMap(optionsOf)]
}

export function isHidden(program: Command, verb: Command): boolean {
  return !program.createHelp().visibleCommands(program).includes(verb)
}

function valuesOf({ value }: FileSetting): (string | boolean)[] {
  const items: unknown[] = Array.isArray(value) ? value : [value]
  return items.flatMap((item) =>
    typeof item === 'boolean' || typeof item === 'string' ? [item] : typeof item === 'number' ? [String(item)] : [],
  )
}

/** `--rw`, and `--no-sync`, which takes back what is so without it. */
function isSwitch(option: Option): boolean {
  return option.isBoolean() || option.negate
}

/** The verb right below the program: `cache` of `cache prune`. */
function topVerb(verb: Command): Command {
  let at = verb
  while (at.parent !== null && at.parent.parent !== null) at = at.parent
  return at
}
