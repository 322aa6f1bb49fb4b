/** One way to authenticate that an answer 401 offers (RFC 9110 11.6.1, RFC 6750 3). */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string
  readonly parameters: ReadonlyMap<string, string>
}

const PARAMETER = /^\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/
const SCHEME = /^\s*,?\s*([A-Za-z0-9_-]+)(?=\s|,|$)/
const CHARACTERS_MAX = 8192

/** All challenges of the header's values, in order. What makes no sense ends it. */
export function parseChallenges(values: string | readonly string[] | undefined): Challenge[] {
  const challenges: Challenge[] = []
  for (const value of typeof values === 'string' ? [values] : (values ?? [])) {
    let rest = value.slice(0, CHARACTERS_MAX)
    for (;;) {
      const scheme = SCHEME.exec(rest)
      if (scheme === null) break
      rest = rest.slice(scheme[0].length)
      const parameters = new Map<string, string>()
      for (let found = PARAMETER.exec(rest); found !== null; found = PARAMETER.exec(rest)) {
        const [whole, name = '', quoted, plain = ''] = found
        parameters.set(name.toLowerCase(), quoted === undefined ? plain : quoted.replace(/\\(.)/g, '$1'))
        rest = rest.slice(whole.length)
      }
      challenges.push({ scheme: (scheme[1] ?? '').toLowerCase(), parameters })
    }
  }
  return challenges
}
