import { isUtf8 } from 'node:buffer'
import { wordBytes } from '../../base/index.ts'

/**
 * Whether a name matches a pattern of the shell (`*`, `?`, `[a-z]`, `[!x]`, `\c`), as fnmatch(3) without flags does: `*` and
 * `?` match a slash and a leading dot too. In time of at most pattern times name, whatever the pattern is.
 */
export function globMatcher(pattern: string, ignoreCase: boolean): (name: Buffer) => boolean {
  const fold = (text: string): string => (ignoreCase ? text.toLowerCase() : text)
  const bytes = parse(fold(wordBytes(pattern).toString('latin1')))
  const chars = pattern.isWellFormed() ? parse(fold(pattern)) : undefined
  // Characters of UTF-8 where both are that, else bytes.
  return (name) =>
    chars !== undefined && isUtf8(name)
      ? matches(chars, fold(name.toString()))
      : matches(bytes, fold(name.toString('latin1')))
}

/** A string matches itself; a function one character; undefined is a `*`. */
type Part = string | ((char: string) => boolean) | undefined

function parse(pattern: string): Part[] {
  const chars = Array.from(pattern)
  const parts: Part[] = []
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] ?? ''
    if (char === '*') {
      if (parts.length === 0 || parts.at(-1) !== undefined) parts.push(undefined)
    } else if (char === '?') parts.push(() => true)
    else if (char === '\\' && at + 1 < chars.length) parts.push(chars[++at] ?? '')
    else if (char === '[') {
      const end = endOfSet(chars, at)
      if (end < 0) parts.push(char)
      else {
        parts.push(charSet(chars.slice(at + 1, end)))
        at = end
      }
    } else parts.push(char)
  }
  return parts
}

/** Where the set that begins at `at` ends, or -1: then the bracket is an ordinary character. */
function endOfSet(chars: readonly string[], at: number): number {
  let end = at + 1
  if (chars[end] === '!' || chars[end] === '^') end += 1
  // A bracket that closes at once is one of the set.
  if (chars[end] === ']') end += 1
  while (end < chars.length && chars[end] !== ']') end += 1
  return end < chars.length ? end : -1
}

function charSet(body: readonly string[]): (char: string) => boolean {
  const negated = body[0] === '!' || body[0] === '^'
  const ranges: [string, string][] = []
  for (let at = negated ? 1 : 0; at < body.length; at += 1) {
    const low = body[at] ?? ''
    const isRange = body[at + 1] === '-' && at + 2 < body.length
    ranges.push([low, isRange ? (body[at + 2] ?? low) : low])
    if (isRange) at += 2
  }
  return (char) => ranges.some(([low, high]) => char >= low && char <= high) !== negated
}

/** Tries the last `*` again with one character more whenever what follows does not fit. */
function matches(parts: readonly Part[], text: string): boolean {
  const chars = Array.from(text)
  let at = 0
  let part = 0
  let star = -1
  let starAt = 0
  while (at < chars.length) {
    const wanted = parts[part]
    const char = chars[at] ?? ''
    if (part < parts.length && wanted === undefined) {
      star = part
      starAt = at
      part += 1
    } else if (wanted !== undefined && (typeof wanted === 'string' ? wanted === char : wanted(char))) {
      part += 1
      at += 1
    } else if (star >= 0) {
      starAt += 1
      at = starAt
      part = star + 1
    } else return false
  }
  while (part < parts.length && parts[part] === undefined) part += 1
  return part === parts.length
}
