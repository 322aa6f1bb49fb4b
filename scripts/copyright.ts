import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

interface Bundled {
  readonly folder: string
  readonly name: string
  readonly version: string
  readonly license: string
  readonly file: string | undefined
}

/**
 * Who owns what, as Debian's copyright file (format 1.0) has it: ours, and each package that came along, with the place of its
 * licence text. `home` is where the tree will lie.
 */
export function copyrightText(tree: string, home: string): string {
  const packages = [...bundled(join(tree, 'node_modules'))].toSorted((a, b) => (a.folder < b.folder ? -1 : 1))
  const nameless = packages.find(({ license }) => license === '')
  if (nameless !== undefined) throw new Error(`${nameless.name} does not say its licence`)
  const paragraphs = packages.map(({ folder, name, version, license, file }) => {
    const at = `${home}/${relative(tree, folder)}`
    const text = file === undefined ? 'See its package.json.' : `See ${at}/${file}.`
    return `Files: ${at.replace(/^\//, '')}/*\nCopyright: the authors of ${name} ${version}\nLicense: ${license}\n ${text}\n`
  })
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: flistfs

Files: *
Copyright: the flistfs authors
License: Apache-2.0
 See ${home}/LICENSE; on Debian also /usr/share/common-licenses/Apache-2.0.

${paragraphs.join('\n')}`
}

function* bundled(modules: string): Generator<Bundled> {
  if (!existsSync(modules)) return
  for (const name of readdirSync(modules)) {
    const folder = join(modules, name)
    if (name.startsWith('@')) yield* bundled(folder)
    if (!existsSync(join(folder, 'package.json'))) continue
    const fields = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, unknown>
    const text = (key: string): string => (typeof fields[key] === 'string' ? fields[key] : '')
    const file = readdirSync(folder).find((entry) => /^(?:licen[cs]e|copying)/i.test(entry))
    yield { folder, name: text('name'), version: text('version'), license: text('license'), file }
    yield* bundled(join(folder, 'node_modules'))
  }
}
