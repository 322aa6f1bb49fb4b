import type { Argument, Command, Option } from 'commander'

/** What a word may be: a choice of a list, or something of the machine. */
export type Kind = 'file' | 'folder' | 'mount' | 'none' | readonly string[]

export interface CompletedOption {
  readonly short: string | undefined
  readonly long: string
  readonly description: string
  /** Undefined: a switch. */
  readonly value: { readonly name: string; readonly kind: Kind; readonly optional: boolean } | undefined
  readonly repeatable: boolean
}

export interface CompletedPlace {
  readonly name: string
  readonly kind: Kind
  /** The last one, for as many words as there are. */
  readonly variadic: boolean
}

/** A verb, or the program itself, whose `path` is empty. */
export interface CompletedVerb {
  /** `['cache', 'prune']`. */
  readonly path: readonly string[]
  readonly names: readonly string[]
  readonly description: string
  readonly options: readonly CompletedOption[]
  readonly places: readonly CompletedPlace[]
  readonly verbs: readonly CompletedVerb[]
}

/** Everything of the command line that can be completed, from the program that also reads it. */
export function completedVerb(command: Command, path: readonly string[] = []): CompletedVerb {
  const help = command.createHelp()
  return {
    path,
    names: [command.name(), ...command.aliases()],
    description: command.description(),
    options: help.visibleOptions(command).map(completedOption),
    places: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      kind: kindOf(argument, path),
      variadic: argument.variadic,
    })),
    verbs: help.visibleCommands(command).map((verb) => completedVerb(verb, [...path, verb.name()])),
  }
}

/** The verb and all below it, itself first. */
export function allVerbs(verb: CompletedVerb): CompletedVerb[] {
  return [verb, ...verb.verbs.flatMap(allVerbs)]
}

function completedOption(option: Option): CompletedOption {
  const { short, long = '', description, argChoices } = option
  const name = /[<[](.*)[>\]]$/.exec(option.flags)?.[1] ?? ''
  const kind: Kind = argChoices ?? (name === 'dir' ? 'folder' : FILES.has(name) ? 'file' : 'none')
  // `<[xx-xx=]url>` is `optional` to commander too.
  const optional = option.optional && !option.required
  const isSwitch = option.isBoolean() || option.negate || option.long === '--help'
  const value = isSwitch ? undefined : { name, kind, optional }
  return { short, long, description, value, repeatable: description.includes('(repeatable)') }
}

const FILES = new Set(['archive', 'file', 'keyfile', 'source', 'before', 'after'])

/** By its name: a `directory` is where something is mounted, but for who makes it so; a `path` is in an archive, but for `why`. */
function kindOf(argument: Argument, path: readonly string[]): Kind {
  if (argument.argChoices !== undefined) return argument.argChoices
  const name = argument.name()
  if (name === 'directory') return path[0] === 'mount' || path[0] === 'unpack' ? 'folder' : 'mount'
  return FILES.has(name) || path[0] === 'why' ? 'file' : 'none'
}

/**
 * A command that prints the folders where something of ours is mounted, also in the place of Zero-OS's mounters, a line each. A
 * writable mount is known by its lower layer. It asks mountinfo, not the folders: one whose server is dead would hang whoever
 * looks at it. Blanks stand there as octal digits.
 */
export const MOUNTS_COMMAND = String.raw`sed -nE 's/^([^ ]* ){4}([^ ]*) .* - (fuse\.(flistfs|g8ufs) |overlay .*lowerdir=[^ ,]*\/lower-[0-9]+-[a-z0-9]+,).*/\2/p' /proc/self/mountinfo | sed -E 's/\\([0-7]{3})/\\0\1/g'`

/** One word of a shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}
