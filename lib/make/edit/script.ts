import { FlistError } from '../../base/index.ts'

/**
 * The words of a line as a shell has them: separated by blanks, `'...'` and `"..."` keep blanks, a backslash keeps the next character, and a `#` that
 * begins a word ends the line. Throws FLIST_USAGE for a quote that is not closed.
 */
export function wordsOf(line: string): string[] {
  const words: string[] = []
  let word: string | undefined
  let quote = ''
  for (let at = 0; at < line.length; at += 1) {
    const char = line.charAt(at)
    if (quote === "'" && char !== "'") word += char
    else if (char === '\\' && at + 1 < line.length) word = (word ?? '') + line.charAt(++at)
    else if (quote !== '' && char === quote) quote = ''
    else if (quote !== '') word += char
    else if (char === "'" || char === '"') {
      quote = char
      word ??= ''
    } else if (char === ' ' || char === '\t') {
      if (word !== undefined) words.push(word)
      word = undefined
    } else if (char === '#' && word === undefined) break
    else word = (word ?? '') + char
  }
  if (quote !== '') throw new FlistError('FLIST_USAGE', `Cannot read the line ${line}: a quote is not closed`)
  return word === undefined ? words : [...words, word]
}
