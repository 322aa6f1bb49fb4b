/** What an image's configuration says of the program to run; OCI image-spec `config.md`, "config". */
export interface StartCommand {
  readonly env: readonly string[]
  /** Entrypoint and Cmd together: the program and its words. */
  readonly words: readonly string[]
  readonly folder: string
}

/** Undefined where the configuration is no JSON object; what is not as it should be is left out. */
export function startCommand(config: Buffer): StartCommand | undefined {
  let document: unknown
  try {
    document = JSON.parse(config.toString('utf8'))
  } catch {
    return undefined
  }
  const inner = member(document, 'config')
  const folder = member(inner, 'WorkingDir')
  return {
    env: texts(member(inner, 'Env')),
    words: [...texts(member(inner, 'Entrypoint')), ...texts(member(inner, 'Cmd'))],
    folder: typeof folder === 'string' ? folder : '',
  }
}

/** When the image was made, in seconds; 0 where it does not say. */
export function createdAt(config: Buffer): number {
  let ms: number
  try {
    ms = Date.parse(String(member(JSON.parse(config.toString('utf8')), 'created')))
  } catch {
    return 0
  }
  return Number.isNaN(ms) ? 0 : Math.floor(ms / 1000)
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return (value as Record<string, unknown>)[name]
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

/**
 * `/.startup.toml`, from which Zero-OS knows what to start. An entry `core.base` without a name starts nothing, but its
 * environment counts.
 */
export function startupToml({ env, words, folder }: StartCommand): string {
  const [program, ...rest] = words
  const lines = ['[startup.entry]', `name = ${quoted(program === undefined ? 'core.base' : 'core.system')}`, '']
  lines.push('[startup.entry.args]')
  if (program !== undefined) lines.push(`name = ${quoted(program)}`)
  lines.push(`args = [${rest.map(quoted).join(', ')}]`)
  if (folder !== '') lines.push(`dir = ${quoted(folder)}`)
  const variables = new Map(env.map((text) => splitVariable(text)))
  if (variables.size > 0) lines.push('', '[startup.entry.args.env]')
  for (const [name, value] of variables) lines.push(`${keyOf(name)} = ${quoted(value)}`)
  return `${lines.join('\n')}\n`
}

function splitVariable(text: string): [string, string] {
  const equals = text.indexOf('=')
  return equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)]
}

function keyOf(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : quoted(name)
}

/** JSON's texts are TOML's, but for DEL and half characters. */
function quoted(text: string): string {
  return JSON.stringify(text.toWellFormed()).replaceAll('\u007f', String.raw`\u007f`)
}
