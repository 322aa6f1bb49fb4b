const MANUALS = { 1: 'User Commands', 5: 'File Formats', 8: 'System Administration' } as const

/** What stands first on a page: its title, section and version. */
export function head(title: string, version: string, section: 1 | 5 | 8 = 1): string[] {
  return [
    String.raw`.\" Made from the program by its build; changes here are lost.`,
    `.TH ${roff(title)} ${section} "" "flistfs ${roff(version)}" "${MANUALS[section]}"`,
  ]
}

/** Lines that are shown as they stand. */
export function verbatim(lines: readonly string[]): string[] {
  return ['.PP', '.RS 4', '.EX', ...lines.map(roff), '.EE', '.RE']
}

/** A paragraph that hangs below its tag. */
export function tagged(tag: string, text: string): string[] {
  return ['.TP', tag, roff(text)]
}

/** Text as roff reads it: a dash of a command is `\-`, a line may not begin with a dot or quote. */
export function roff(text: string): string {
  const escaped = text
    .replaceAll('\\', String.raw`\e`)
    .replaceAll('-', String.raw`\-`)
    .replaceAll('~', String.raw`\(ti`)
    .replaceAll('^', String.raw`\(ha`)
    .replaceAll('`', String.raw`\(ga`)
    .replaceAll('"', String.raw`\(dq`)
  return /^[.']/.test(escaped) ? String.raw`\&` + escaped : escaped
}

export function upperFirst(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

export function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
