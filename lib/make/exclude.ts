/**
 * `--exclude` as in GNU tar: a pattern matches a whole path or its end after any slash, wildcards match slashes too, and what is in an
 * excluded folder goes with it. A pattern that begins with a slash is anchored at the root of the tree. Bytes, not letters.
 */
export function excluder(patterns: readonly string[]): ((path: Buffer) => boolean) | undefined {
  if (patterns.length === 0) return undefined
  const expressions = patterns.map(expressionOf)
  return (path) => {
    const text = path.toString('latin1')
    return expressions.some((expression) => expression.test(text))
  }
}

function expressionOf(pattern: string): RegExp {
  const isAnchored = pattern.startsWith('/')
  // Each character stands for a byte, as in the paths.
  const bytes = Buffer.from(pattern.replace(/^(?:\.?\/)+/, '').replace(/\/+$/, '')).toString('latin1')
  let source = ''
  for (let at = 0; at < bytes.length; at += 1) {
    const char = bytes.charAt(at)
    if (char === '*') source += '[^]*'
    else if (char === '?') source += '[^]'
    else if (char === '\\' && at + 1 < bytes.length) source += literal(bytes.charAt((at += 1)))
    else if (char === '[') {
      const { text, next } = bracket(bytes, at)
      source += text
      at = next
    } else source += literal(char)
  }
  return new RegExp(`${isAnchored ? '^' : '(?:^|/)'}${source}$`)
}

function literal(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
}

/** `[a-z]` and `[!a-z]`; a bracket that is not closed is itself. */
function bracket(bytes: string, from: number): { text: string; next: number } {
  const negated = /[!^]/.test(bytes.charAt(from + 1))
  const first = from + (negated ? 2 : 1)
  const end = bytes.indexOf(']', first + 1)
  if (end < 0) return { text: literal('['), next: from }
  let text = ''
  for (let at = first; at < end; at += 1) {
    const isRange = bytes.charAt(at + 1) === '-' && at + 2 < end
    if (!isRange) text += literal(bytes.charAt(at))
    else if (bytes.charCodeAt(at) <= bytes.charCodeAt(at + 2)) {
      text += `${literal(bytes.charAt(at))}-${literal(bytes.charAt(at + 2))}`
      at += 2
    } else at += 2
  }
  return { text: text === '' ? '[]' : `[${negated ? '^' : ''}${text}]`, next: end }
}
