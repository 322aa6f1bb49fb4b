import { Argument, type Command } from 'commander'
import { FlistError, LOG_LEVELS, type LogLevel, parseDuration } from '../lib/base/index.ts'
import { type Context, verb } from './verb.ts'

/** Milliseconds between two looks where nobody says. */
const WATCH_MS = 2_000
const WATCH_MS_MIN = 100

/** The verbs that look at mounts while they serve: `stats`, `why`, `log-level`, `trace`. */
export function addWatching(program: Command, context: Context, done: (code: number) => void): void {
  addStats(program, context, done)
  addWhy(program, context, done)
  addLogLevel(program, context, done)
  addTrace(program, context, done)
}

function addStats(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'stats', 'show what mounts have done')
    .argument('[directory]', 'one mount; all of them where it is left out')
    .option('-w, --watch [seconds]', 'again and again, each 2 seconds or as often as said; Ctrl-C ends')
    .action(async (directory: string | undefined, words: { watch?: string | true }) => {
      const { stats } = await import('../lib/commands/stats.ts')
      if (words.watch !== undefined) {
        const { watchStats } = await import('./watch.ts')
        const look = () => stats(directory, context.signal)
        done(await watchStats(look, watchMs(words.watch), context))
        return
      }
      const { statsText } = await import('./texts.ts')
      const answers = await stats(directory, context.signal)
      context.output.result(directory === undefined ? answers : answers[0], statsText(answers))
      done(answers.some((answer) => 'error' in answer) ? 3 : 0)
    })
}

function watchMs(words: string | true): number {
  const ms = words === true ? WATCH_MS : parseDuration(words, 'a time between two looks')
  if (ms >= WATCH_MS_MIN) return ms
  throw new FlistError('FLIST_USAGE', `Cannot watch each "${String(words)}": 100ms is the shortest time`, {
    hint: 'Say a time from 100ms, or none for each two seconds',
  })
}

function addWhy(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'why', 'show why reading a file on a mount is slow')
    .argument('<path>', 'a file below the folder of a mount')
    .action(async (path: string) => {
      const { why } = await import('../lib/commands/why.ts')
      const { whyText } = await import('./why-text.ts')
      const answer = await why(path, context.signal)
      context.output.result(answer, whyText(answer))
      done(0)
    })
}

function addLogLevel(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'log-level', 'change how much the server of a mount logs')
    .argument('<directory>', 'where it is mounted')
    .addArgument(new Argument('<level>', 'how much from now on').choices(Object.keys(LOG_LEVELS)))
    .action(async (directory: string, level: LogLevel) => {
      const { setLogLevel } = await import('../lib/commands/live.ts')
      const { isHeard, ...changed } = await setLogLevel(directory, level, context.signal)
      context.output.result(changed, '')
      if (!isHeard) context.output.warn('Nobody hears it: what serves in the background without --log writes nowhere')
      done(0)
    })
}

function addTrace(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'trace', 'print each request of the kernel and its reply into a file')
    .argument('<directory>', 'where it is mounted')
    .argument('[file]', 'lines are added to it; what is over 64 MiB goes to FILE.old')
    .option('--off', 'print no more')
    .action(async (directory: string, file: string | undefined, words: { off?: true }) => {
      if ((file === undefined) === (words.off === undefined)) {
        throw new FlistError('FLIST_USAGE', 'Cannot trace: name a file, or say --off', {
          hint: 'See `flistfs trace --help` for examples',
        })
      }
      const { setTrace } = await import('../lib/commands/live.ts')
      context.output.result(await setTrace(directory, file, context.signal), '')
      done(0)
    })
}
