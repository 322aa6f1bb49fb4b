import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { FlistError, packageVersion, wordOf } from '../lib/base/index.ts'
import { addCompletion } from './completion-words.ts'
import { addConfig } from './config-words.ts'
import { addConvert } from './convert-words.ts'
import { programExamples } from './examples.ts'
import { addCache } from './cache-words.ts'
import { addExport } from './export-words.ts'
import { addDiff } from './diff-words.ts'
import { addEditing } from './edit-words.ts'
import { addLooking } from './look-words.ts'
import { addMountOptions, mountRequest } from './mount-options.ts'
import { Output, write } from './output.ts'
import { addPack } from './pack-words.ts'
import { addSigning } from './sign-words.ts'
import { addSetup } from './setup-words.ts'
import { addUnpack } from './unpack-words.ts'
import { addUpgrade } from './upgrade-words.ts'
import { warnOfSecrets } from './secret-words.ts'
import { applySettings } from './settings.ts'
import { type Context, verb } from './verb.ts'
import { addVerify } from './verify-words.ts'
import { addWatching } from './watch-words.ts'

/** Runs the words after the program's name and gives the exit code. Nothing is thrown. */
export async function run(given: readonly string[], signal: AbortSignal): Promise<number> {
  const output = new Output()
  // Errors of the parser come before it has seen --json.
  output.json = given.includes('--json')
  let code = 0
  const program = buildProgram({ output, signal }, (value) => (code = value), given[0])
  const isVerb = (word: string): boolean => program.commands.some((one) => one.name() === word || one.alias() === word)
  try {
    const words = asOptions(exactWords(given), isVerb)
    // All verbs have --json: where none is named, it is not --json that is wrong.
    const known = words.some(isVerb) ? words : words.filter((word) => word !== '--json')
    await program.parseAsync([...known], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return usageCode(error, output, given.find(isVerb))
    return output.fail(error)
  }
}

/** `help`, `help VERB` and `version` are what many programs have as verbs. */
function asOptions(words: readonly string[], isVerb: (word: string) => boolean): readonly string[] {
  const [first, ...others] = words
  if (first === 'help')
    return others.every((word) => word.startsWith('-')) || others.some(isVerb) ? [...others, '--help'] : others
  return first === 'version' ? ['--version', ...others] : words
}

/** Node gives words as text, in which what is not UTF-8 is lost. The kernel has the bytes: they are the last words of this process. */
function exactWords(words: readonly string[]): readonly string[] {
  if (!words.some((word) => word.includes('\uFFFD'))) return words
  const line = readFileSync('/proc/self/cmdline')
  if (isUtf8(line)) return words
  return line
    .toString('latin1')
    .split('\0')
    .slice(-1 - words.length, -1)
    .map((word) => wordOf(Buffer.from(word, 'latin1')))
}

/** Arguments that are names in an archive or on a mount: bytes, and the root's is empty. */
const NAMES = new Set(['path', 'expression', 'command'])

/** Other words go to the system as text: one that is none, or is empty, would stand for another file than the one meant. */
function checkWords(action: Command): void {
  const names = action.registeredArguments.findIndex((one) => NAMES.has(one.name()))
  for (const [nth, word] of (names < 0 ? action.args : action.args.slice(0, names)).entries()) {
    checkWord(word, `<${(action.registeredArguments[nth] ?? action.registeredArguments.at(-1))?.name()}>`)
  }
  for (const option of action.options) {
    // A comment may say nothing, and a list may have nothing in it.
    if (/<(?:text|list)>$/.test(option.flags)) continue
    const value: unknown = action.getOptionValue(option.attributeName())
    for (const word of [value].flat()) if (typeof word === 'string') checkWord(word, option.long ?? '')
  }
}

function checkWord(word: string, name: string): void {
  if (word === '') {
    const hint = 'Give it a value: nothing is not the folder where you are'
    throw new FlistError('FLIST_USAGE', `Cannot use "${name}": it is empty`, { hint })
  }
  if (word.isWellFormed()) return
  const hint = 'Rename it, or link to it under another name'
  throw new FlistError('FLIST_USAGE', `Cannot use "${word}": the word is not UTF-8`, { hint })
}

/** Help and version are no errors; commander has written them. */
function usageCode(error: CommanderError, output: Output, verb: string | undefined): number {
  if (error.exitCode === 0) return 0
  const [said = '', suggestion] = error.message.replace(/^error: /, '').split('\n')
  const what = said.replace(/\.$/, '')
  const hint = suggestion ?? `See \`flistfs ${verb === undefined ? '' : `${verb} `}--help\``
  return output.fail(new FlistError('FLIST_USAGE', `Cannot understand the command line: ${what}`, { hint }))
}

type Add = (program: Command, context: Context, done: (code: number) => void) => void

/** In the order of the help text. */
const VERBS: readonly Add[] = [
  addMount,
  addUmount,
  addUpgrade,
  addList,
  addWatching,
  addPack,
  addConvert,
  addExport,
  addLooking,
  addDiff,
  addVerify,
  addSigning,
  addEditing,
  addUnpack,
  addCache,
  addConfig,
  addCompletion,
  addSetup,
  addDemo,
]

/** Verbs that start often and know nothing of the others: 8 ms of a start are the words of all. */
const ALONE: ReadonlyMap<string | undefined, Add> = new Map([
  ['mount', addMount],
  ['resume', addUpgrade],
  ['umount', addUmount],
  ['list', addList],
])

/**
 * The command line: the whole of it, or what it is for words that begin with `first`. Each verb loads what it needs when
 * it runs.
 */
export function buildProgram(context: Context, done: (code: number) => void, first?: string): Command {
  const program = new Command('flistfs')
  program
    .description('Mount flists: archives of a directory tree whose content is fetched when it is read')
    .option('-V, --version', 'print the version')
    .exitOverride()
    .configureOutput({ writeOut: (text) => write(1, text), writeErr: () => undefined })
    .helpCommand(false)
    .addHelpText('after', programExamples())
    .allowExcessArguments()
    .action(() => {
      const [name] = program.args
      const why = name === undefined ? 'Cannot do nothing: a verb is missing' : `Cannot understand the verb "${name}"`
      throw new FlistError('FLIST_USAGE', why, { hint: 'See `flistfs --help`' })
    })
    .on('option:version', () => {
      write(1, `${packageVersion()}\n`)
      throw new CommanderError(0, 'commander.version', 'version')
    })
  program.hook('preAction', async (_program, action) => {
    const lists = action.opts<{ options?: string[] }>().options
    if (lists !== undefined) (await import('./option-list.ts')).applyOptionLists(action, lists)
    if (action.parent !== null) checkWords(action)
    await warnOfSecrets(action, (message) => context.output.warn(message))
    await applySettings(() => (alone === undefined ? program : buildProgram(context, done)), action)
  })
  const alone = ALONE.get(first)
  for (const add of alone === undefined ? VERBS : [alone]) add(program, context, done)
  return program
}

function addMount(program: Command, context: Context, done: (code: number) => void): void {
  const command = verb(program, 'mount', 'mount an archive on a folder')
  addMountOptions(command).action(async (archive: string, directory: string) => {
    const { mountArchive } = await import('../lib/commands/mount.ts')
    const { mountText } = await import('./texts.ts')
    const report = {
      warn: (message: string) => context.output.warn(message),
      mounted: (result: Parameters<typeof mountText>[0]) => {
        try {
          context.output.result(result, mountText(result))
        } catch (error) {
          // The mount stands, and is worth more than the line about it.
          if (!(error instanceof FlistError)) throw error
          context.output.warn(error.message)
        }
      },
      progress: context.output.json ? undefined : (text: string) => write(2, text),
    }
    const request = mountRequest(archive, directory, command.opts())
    done(await mountArchive(request, report, context.signal))
  })
}

function addUmount(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'umount', 'unmount a folder and end its server')
    .alias('unmount')
    .argument('<directory>', 'where it is mounted')
    .option('-l, --lazy', 'leave the tree at once, the server ends with its last user')
    .option('-f, --force', 'end waiting readers with an error, then leave the tree')
    .action(async (directory: string, words: { lazy?: true; force?: true }) => {
      const { umount } = await import('../lib/commands/umount.ts')
      const result = await umount(directory, { lazy: words.lazy ?? false, force: words.force ?? false }, context.signal)
      context.output.result(result, (await import('./texts.ts')).umountText(result))
      done(0)
    })
}

function addList(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'list', 'show what is mounted').action(async () => {
    const { list } = await import('../lib/commands/list.ts')
    const { listText } = await import('./texts.ts')
    const listings = list()
    context.output.result(listings, listText(listings))
    done(0)
  })
}

function addDemo(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'demo', 'mount the sample archive and show what is fetched').action(async () => {
    const { demo } = await import('../lib/commands/demo.ts')
    const self = [process.execPath, process.argv[1] ?? '']
    done(await demo(self, context.output.json, (text, value) => context.output.result(value, text), context.signal))
  })
}
