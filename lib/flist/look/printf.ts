import { FlistError, wordBytes } from '../../base/index.ts'
import { FILE_TYPE, isDevice } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'
import { majorOf, minorOf, modeText, rowStat, type RowStat, typeLetter } from './entry.ts'
import type { Step } from './walk.ts'

/** What a directive sees. */
interface Subject {
  readonly index: FlistIndex
  readonly step: Step
  readonly start: Buffer
  readonly stat: RowStat
}

type Piece = Buffer | ((subject: Subject) => string | Buffer)

const SLASH = 0x2f
const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  '0': '\0',
  '\\': '\\',
  a: '\u0007',
  b: '\b',
  f: '\f',
  r: '\r',
  v: '\v',
}

const DIRECTIVES: Readonly<Record<string, (subject: Subject) => string | Buffer>> = {
  p: ({ step }) => step.path,
  P: ({ step, start }) => step.path.subarray(step.depth === 0 ? step.path.length : start.length + joint(start)),
  f: ({ step }) => baseOf(step.path),
  h: ({ step }) => folderOf(step.path),
  H: ({ start }) => start,
  s: ({ stat }) => String(stat.size),
  b: ({ stat }) => String(Math.ceil(stat.size / 512)),
  k: ({ stat }) => String(Math.ceil(stat.size / 1024)),
  m: ({ stat }) => (stat.mode & 0o7777).toString(8),
  M: ({ stat }) => modeText(stat.mode),
  U: ({ stat }) => String(stat.uid),
  G: ({ stat }) => String(stat.gid),
  u: ({ stat }) => String(stat.uid),
  g: ({ stat }) => String(stat.gid),
  n: ({ stat }) => String(stat.nlink),
  i: ({ stat }) => String(stat.ino),
  d: ({ step }) => String(step.depth),
  y: ({ stat }) => typeLetter(stat.mode).replace('-', 'f'),
  l: ({ stat }) => stat.target ?? '',
}

function joint(start: Buffer): number {
  return start.length === 0 || start.at(-1) === SLASH ? 0 : 1
}

function baseOf(path: Buffer): Buffer {
  const slash = path.lastIndexOf(SLASH)
  return slash < 0 || path.length === 1 ? path : path.subarray(slash + 1)
}

function folderOf(path: Buffer): Buffer | string {
  const slash = path.lastIndexOf(SLASH)
  return slash < 0 ? '.' : path.subarray(0, slash)
}

/**
 * find(1)'s -printf as a function of where a walk is. Times: `%T@` `%C@` (seconds with ten digits behind the point). Users and groups
 * are numbers: an archive's names are not this machine's. Throws FLIST_USAGE.
 */
export function printfFormat(format: string): (index: FlistIndex, step: Step, start: Buffer) => Buffer {
  const pieces: Piece[] = []
  let text = ''
  const flush = (): void => {
    if (text !== '') pieces.push(wordBytes(text))
    text = ''
  }
  for (let at = 0; at < format.length; at += 1) {
    const char = format.charAt(at)
    const next = format.charAt(at + 1)
    if (char === '\\' && next !== '') {
      text += ESCAPES[next] ?? `\\${next}`
      at += 1
    } else if (char === '%' && next === '%') {
      text += '%'
      at += 1
    } else if (char === '%') {
      const [piece, used] = directive(format, at + 1)
      flush()
      pieces.push(piece)
      at += used
    } else text += char
  }
  flush()
  return (index, step, start) => {
    const subject: Subject = { index, step, start, stat: rowStat(index, step.row) }
    const parts = pieces.map((piece) => (typeof piece === 'function' ? piece(subject) : piece))
    return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
  }
}

/** The directive at `at`, and how many characters it takes. */
function directive(format: string, at: number): [Piece, number] {
  const letter = format.charAt(at)
  if ((letter === 'T' || letter === 'C') && format.charAt(at + 1) === '@') {
    const isTime = letter === 'T'
    return [({ stat }) => timeText(isTime ? stat.mtime : stat.ctime, isTime ? stat.mtimeNs : stat.ctimeNs), 2]
  }
  const known = DIRECTIVES[letter]
  if (known !== undefined) return [known, 1]
  throw new FlistError('FLIST_USAGE', `Cannot understand "%${letter}" in the format "${format}"`, {
    hint: `Known are %${Object.keys(DIRECTIVES).join(' %')} %T@ %C@ %%`,
  })
}

/** As find(1) writes it; it takes the sign from the whole. */
function timeText(seconds: number, ns: number): string {
  if (seconds < 0 && ns > 0) return `${seconds + 1 === 0 ? '-0' : seconds + 1}.${digits(1e9 - ns)}0`
  return `${seconds}.${digits(ns)}0`
}

function digits(ns: number): string {
  return String(ns).padStart(9, '0')
}

/** `-ls`: inode, KiB, mode, links, owner, group, size or device, time, path. */
export function lsLine(index: FlistIndex, step: Step, time: (seconds: number) => string): Buffer {
  const stat = rowStat(index, step.row)
  const size = isDevice(stat.mode) ? `${majorOf(stat.rdev)}, ${minorOf(stat.rdev)}` : String(stat.size)
  const head = [
    String(stat.ino).padStart(9),
    String(Math.ceil(stat.size / 1024)).padStart(6),
    modeText(stat.mode),
    String(stat.nlink).padStart(3),
    String(stat.uid).padEnd(8),
    String(stat.gid).padEnd(8),
    size.padStart(8),
    time(stat.mtime),
    '',
  ].join(' ')
  const isLink = (stat.mode & FILE_TYPE.mask) === FILE_TYPE.link
  const tail = isLink ? [Buffer.from(' -> '), stat.target ?? Buffer.alloc(0)] : []
  return Buffer.concat([Buffer.from(head), step.path, ...tail, Buffer.from('\n')])
}
