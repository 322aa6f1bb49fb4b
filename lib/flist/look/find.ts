import { FlistError } from '../../base/index.ts'
import { FILE_TYPE } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'
import { rowStat } from './entry.ts'
import { globMatcher } from './glob.ts'
import { lsLine, printfFormat } from './printf.ts'
import type { Step } from './walk.ts'

/** What an expression may do with an entry. */
export interface FindContext {
  readonly index: FlistIndex
  readonly step: Step
  /** The path the walk began with. */
  readonly start: Buffer
  readonly emit: (bytes: Buffer) => void
  readonly quit: () => void
}

type Test = (context: FindContext) => boolean

export interface FindExpression {
  readonly depthMin: number
  readonly depthMax: number
  /** Runs tests and actions. */
  readonly run: Test
}

export interface FindOptions {
  /** Seconds of Unix time that ages are counted from. */
  readonly now: number
  /** A time as `-ls` writes it. */
  readonly time: (seconds: number) => string
}

/**
 * An expression of find(1): tests (-name -iname -path -ipath -type -size -perm -uid -gid -user -group -links -inum -empty -mtime -mmin
 * -newermt), actions (-print -print0 -printf -ls -prune -quit), `! -not -a -o ( )`, -maxdepth and -mindepth. Without an action each
 * entry that passes is printed. Throws FLIST_USAGE.
 */
export function parseFind(words: readonly string[], options: FindOptions): FindExpression {
  const parser = new Parser(words, options)
  const test = parser.whole()
  const run: Test = parser.acts ? test : (context) => test(context) && print(context)
  return { depthMin: parser.depthMin, depthMax: parser.depthMax, run }
}

const NEWLINE = Buffer.from('\n')
const NUL = Buffer.of(0)

function print({ step, emit }: FindContext): true {
  emit(Buffer.concat([step.path, NEWLINE]))
  return true
}

class Parser {
  depthMin = 0
  depthMax = Number.POSITIVE_INFINITY
  acts = false
  readonly #words: readonly string[]
  readonly #options: FindOptions
  #at = 0

  constructor(words: readonly string[], options: FindOptions) {
    this.#words = words
    this.#options = options
  }

  whole(): Test {
    if (this.#words.length === 0) return () => true
    const test = this.#either()
    if (this.#at < this.#words.length) throw wrong(`"${this.#words[this.#at]}" stands where nothing may follow`)
    return test
  }

  #either(): Test {
    let left = this.#both()
    while (this.#peek() === '-o' || this.#peek() === '-or') {
      this.#at += 1
      const [a, b] = [left, this.#both()]
      left = (context) => a(context) || b(context)
    }
    return left
  }

  #both(): Test {
    let left = this.#not()
    for (let word = this.#peek(); word !== undefined && !STOPS.has(word); word = this.#peek()) {
      if (word === '-a' || word === '-and') this.#at += 1
      const [a, b] = [left, this.#not()]
      left = (context) => a(context) && b(context)
    }
    return left
  }

  #not(): Test {
    const word = this.#peek()
    if (word === '!' || word === '-not') {
      this.#at += 1
      const test = this.#not()
      return (context) => !test(context)
    }
    if (word !== '(') return this.#primary()
    this.#at += 1
    const test = this.#either()
    if (this.#peek() !== ')') throw wrong('a parenthesis is not closed')
    this.#at += 1
    return test
  }

  #primary(): Test {
    const word = this.#words[this.#at++]
    if (word === undefined) throw wrong('a test is missing at its end')
    const plain = PLAIN[word]
    if (plain !== undefined) {
      if (ACTIONS.has(word)) this.acts = true
      return plain
    }
    if (word === '-ls') {
      this.acts = true
      const { time } = this.#options
      return ({ index, step, emit }) => (emit(lsLine(index, step, time)), true)
    }
    const value = this.#words[this.#at++]
    if (!word.startsWith('-')) throw wrong(`"${word}" is no test`)
    if (value === undefined) throw wrong(`"${word}" wants a value, or is no test we know`)
    return this.#valued(word, value)
  }

  #valued(word: string, value: string): Test {
    if (word === '-maxdepth' || word === '-mindepth') {
      if (!/^\d{1,6}$/.test(value)) throw wrong(`"${value}" is no depth`)
      if (word === '-maxdepth') this.depthMax = Number(value)
      else this.depthMin = Number(value)
      return () => true
    }
    if (word === '-printf') {
      this.acts = true
      const format = printfFormat(value)
      return ({ index, step, start, emit }) => (emit(format(index, step, start)), true)
    }
    if (word === '-mtime' || word === '-mmin') return this.#age(value, word === '-mtime' ? 86_400 : 60)
    const make = VALUED[word]
    if (make === undefined) throw wrong(`"${word}" is no test we know`)
    return make(value)
  }

  /** Whole days or minutes, as find(1) cuts them. */
  #age(value: string, unit: number): Test {
    const wanted = comparison(value)
    const { now } = this.#options
    return ({ index, step }) => {
      const { mtime, mtimeNs } = rowStat(index, step.row)
      return wanted(Math.floor((now - mtime - mtimeNs / 1e9) / unit))
    }
  }

  #peek(): string | undefined {
    return this.#words[this.#at]
  }
}

const STOPS: ReadonlySet<string> = new Set(['-o', '-or', ')'])
const ACTIONS: ReadonlySet<string> = new Set(['-print', '-print0', '-quit'])

const PLAIN: Readonly<Record<string, Test>> = {
  '-true': () => true,
  '-false': () => false,
  '-print': print,
  '-print0': ({ step, emit }) => (emit(Buffer.concat([step.path, NUL])), true),
  '-prune': ({ step }) => (step.prune = true),
  '-quit': ({ quit }) => (quit(), true),
  '-empty': ({ index, step: { row } }) => {
    const type = (index.mode[row] ?? 0) & FILE_TYPE.mask
    if (type === FILE_TYPE.directory) return index.count[row] === 0
    return type === FILE_TYPE.file && rowStat(index, row).size === 0
  },
}

const VALUED: Readonly<Record<string, (value: string) => Test>> = {
  '-name': (value) => named(value, false),
  '-iname': (value) => named(value, true),
  '-path': (value) => pathed(value, false),
  '-wholename': (value) => pathed(value, false),
  '-ipath': (value) => pathed(value, true),
  '-type': (value) => {
    const letters = value.split(',')
    const bits = letters.map((letter) => TYPE_BITS[letter])
    if (bits.includes(undefined)) throw wrong(`"${value}" is no type: f, d, l, b, c, p, s`)
    return ({ index, step }) => bits.includes((index.mode[step.row] ?? 0) & FILE_TYPE.mask)
  },
  '-size': (value) => {
    const [, number = '', unit = ''] = /^([+-]?\d+)([cwbkMG]?)$/.exec(value) ?? []
    if (number === '') throw wrong(`"${value}" is no size, such as +10M`)
    const wanted = comparison(number)
    const scale = SIZE_UNITS[unit] ?? 512
    return ({ index, step }) => wanted(Math.ceil(rowStat(index, step.row).size / scale))
  },
  '-perm': (value) => {
    const [, how = '', octal = ''] = /^([-/]?)([0-7]{1,4})$/.exec(value) ?? []
    if (octal === '') throw wrong(`"${value}" is no mode in octal, such as 644, -4000 or /22`)
    const bits = Number.parseInt(octal, 8)
    const modeOf = ({ index, step }: FindContext): number => (index.mode[step.row] ?? 0) & 0o7777
    if (how === '-') return (context) => (modeOf(context) & bits) === bits
    if (how === '/') return (context) => bits === 0 || (modeOf(context) & bits) !== 0
    return (context) => modeOf(context) === bits
  },
  '-uid': (value) => number(value, (context) => rowStat(context.index, context.step.row).uid),
  '-user': (value) => number(value, (context) => rowStat(context.index, context.step.row).uid),
  '-gid': (value) => number(value, (context) => rowStat(context.index, context.step.row).gid),
  '-group': (value) => number(value, (context) => rowStat(context.index, context.step.row).gid),
  '-links': (value) => number(value, (context) => rowStat(context.index, context.step.row).nlink),
  '-inum': (value) => number(value, (context) => rowStat(context.index, context.step.row).ino),
  '-newermt': (value) => {
    const ms = Date.parse(value)
    if (Number.isNaN(ms)) throw wrong(`"${value}" is no date, such as 2024-05-01 or 2024-05-01T12:00:00Z`)
    return ({ index, step }) => {
      const { mtime, mtimeNs } = rowStat(index, step.row)
      return mtime + mtimeNs / 1e9 > ms / 1000
    }
  },
}

const TYPE_BITS: Readonly<Record<string, number>> = {
  f: FILE_TYPE.file,
  d: FILE_TYPE.directory,
  l: FILE_TYPE.link,
  b: FILE_TYPE.block,
  c: FILE_TYPE.character,
  p: FILE_TYPE.fifo,
  s: FILE_TYPE.socket,
}
const SIZE_UNITS: Readonly<Record<string, number>> = { c: 1, w: 2, b: 512, k: 1024, M: 1024 ** 2, G: 1024 ** 3 }

function named(pattern: string, ignoreCase: boolean): Test {
  const matches = globMatcher(pattern, ignoreCase)
  return ({ step }) => {
    const { path } = step
    const end = path.length > 1 && path.at(-1) === 0x2f ? path.length - 1 : path.length
    return matches(path.subarray(path.lastIndexOf(0x2f, end - 1) + 1, end))
  }
}

function pathed(pattern: string, ignoreCase: boolean): Test {
  const matches = globMatcher(pattern, ignoreCase)
  return ({ step }) => matches(step.path)
}

function number(value: string, of: (context: FindContext) => number): Test {
  const wanted = comparison(value)
  return (context) => wanted(of(context))
}

/** `n`, `+n` (more), `-n` (less). */
function comparison(text: string): (value: number) => boolean {
  const [, sign = '', digits = ''] = /^([+-]?)(\d{1,15})$/.exec(text) ?? []
  if (digits === '') throw wrong(`"${text}" is no number; an archive's users and groups are numbers too`)
  const wanted = Number(digits)
  if (sign === '+') return (value) => value > wanted
  if (sign === '-') return (value) => value < wanted
  return (value) => value === wanted
}

function wrong(why: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot understand the expression: ${why}`, {
    hint: 'See `flistfs find --help`',
  })
}
