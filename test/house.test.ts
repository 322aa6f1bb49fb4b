import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, resolve } from 'node:path'
import { parseSync } from 'oxc-parser'
import t from 'tap'
import { EXAMPLES } from '../bin/examples.ts'
import { Output } from '../bin/output.ts'
import { buildProgram } from '../bin/program.ts'
import { ERROR_TABLE } from '../lib/base/index.ts'

const ROOT = resolve(import.meta.dirname, '..')

/** Rooms and what they may import, `ARCHITECTURE.md`. Imports go down only; types count. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  bin: ['commands', 'base'],
  door: ['commands', 'kernel', 'runtime', 'make', 'vfs', 'flist', 'store', 'base'],
  commands: ['kernel', 'runtime', 'make', 'oci', 'vfs', 'wire', 'flist', 'store', 'system', 'base'],
  kernel: ['vfs', 'wire', 'system', 'base'],
  runtime: ['kernel', 'make', 'vfs', 'flist', 'store', 'system', 'base'],
  make: ['oci', 'flist', 'store', 'system', 'base'],
  oci: ['system', 'base'],
  vfs: ['flist', 'store', 'base'],
  wire: ['base'],
  flist: ['system', 'base'],
  store: ['system', 'base'],
  system: ['base'],
  base: [],
}

/** Outside packages and the rooms they live in. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  bin: ['commander'],
  commands: ['prom-client', 'smol-toml'],
  flist: ['capnp-es', 'tar-stream', 'yaml', 'hash-wasm'],
  store: ['undici', 'redis', 'aws4fetch', 'smol-toml', 'hash-wasm', 'snappy', 'lru-cache'],
  oci: ['undici'],
  kernel: ['fuse-native'],
  system: ['koffi'],
}

const LINES_MAX = 400

const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(ROOT, file)))
const sources = tracked.filter((file) => /^(?:bin|lib)\/.*\.ts$/.test(file))

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

function roomOf(file: string): string {
  if (file.startsWith('bin/')) return 'bin'
  return /^lib\/([^/]+)\//.exec(file)?.[1] ?? 'door'
}

interface Node {
  readonly type?: string
  readonly source?: { readonly value?: unknown } | null
  readonly [key: string]: unknown
}

/** Whatever a file imports in any way: statements, re-exports, `import()`, and types written `import('x').Y`. */
function importsOf(file: string): { name: string; all: boolean }[] {
  const found: { name: string; all: boolean }[] = []
  const visit = (node: Node): void => {
    const name = node.source?.value
    if (typeof name === 'string') found.push({ name, all: node.type === 'ExportAllDeclaration' })
    for (const value of Object.values(node)) {
      for (const child of Array.isArray(value) ? (value as unknown[]) : [value]) {
        if (typeof child === 'object' && child !== null) visit(child as Node)
      }
    }
  }
  visit(parseSync(file, read(file)).program as unknown as Node)
  return found
}

t.test('importsOf() sees every way to import', async (t) => {
  t.ok(
    importsOf('bin/program.ts').some(({ name }) => name === '../lib/commands/mount.ts'),
    'import()',
  )
  t.ok(
    importsOf('lib/base/index.ts').some(({ name }) => name === './errors.ts'),
    'export from',
  )
  t.ok(
    importsOf('lib/commands/mount.ts').some(({ name }) => name === '../store/index.ts'),
    'import type',
  )
})

t.test('imports go down only, through doors', async (t) => {
  for (const file of sources) {
    const room = roomOf(file)
    const allowed = MAY_IMPORT[room]
    if (!t.ok(allowed, `${file} is in a room of MAY_IMPORT: add the room there and to ARCHITECTURE.md`)) continue
    for (const { name, all } of importsOf(file)) {
      t.notOk(all, `${file} exports * from ${name}: name what leaves`)
      if (!name.startsWith('.')) continue
      const to = normalize(join(dirname(file), name))
      const target = roomOf(to)
      if (target === room) continue
      t.ok(allowed?.includes(target), `${file} imports ${to}: ${room} may not import ${target}; see MAY_IMPORT`)
      // Verbs are loaded one by one, so that a mount does not load the others.
      const ownDoor = target === 'commands' && ['bin', 'door'].includes(room)
      t.ok(ownDoor || to.endsWith('/index.ts'), `${file} imports ${to}: use the door, lib/${target}/index.ts`)
    }
  }
})

t.test('outside packages live in their rooms', async (t) => {
  const { dependencies: always, optionalDependencies } = JSON.parse(read('package.json')) as Record<string, object>
  const dependencies = { ...always, ...optionalDependencies }
  for (const file of sources) {
    for (const { name } of importsOf(file)) {
      if (name.startsWith('.') || name.startsWith('node:')) continue
      const owner = name
        .split('/')
        .slice(0, name.startsWith('@') ? 2 : 1)
        .join('/')
      const room = roomOf(file)
      t.ok(PACKAGES[room]?.includes(owner), `${file} imports ${name}: it does not live in ${room}; see PACKAGES`)
      t.ok(owner in dependencies, `${file} imports ${name}: put it into the dependencies of package.json`)
    }
  }
})

t.test('files are short', async (t) => {
  for (const file of tracked.filter((file) => /^(?:bin|lib|test|bench|fixtures)\/.*\.ts$/.test(file))) {
    const lines = read(file).split('\n').length
    t.ok(lines <= LINES_MAX, `${file} has ${lines} lines: cut it at ${LINES_MAX}`)
  }
})

t.test('every error code has its paragraph, and its exit code there', async (t) => {
  const paragraphs = new Map(
    read('docs/errors.md')
      .split(/^### /m)
      .slice(1)
      .map((text) => [text.slice(0, text.indexOf('\n')), text]),
  )
  for (const [code, { exit }] of Object.entries(ERROR_TABLE)) {
    const text = paragraphs.get(code)
    t.ok(text, `docs/errors.md lacks a paragraph "### ${code}"`)
    t.match(text ?? '', `Exit ${exit},`, `docs/errors.md says the exit code of ${code}`)
    paragraphs.delete(code)
  }
  t.strictSame([...paragraphs.keys()], [], 'docs/errors.md has no paragraph without a code')
})

t.test('every fixture has its source', async (t) => {
  const notes = read('fixtures/README.md')
  const folders = new Set(
    tracked.map((file) => /^fixtures\/([^/]+)\//.exec(file)?.[1]).filter((name) => name !== undefined),
  )
  for (const name of folders) t.ok(notes.includes(`## ${name}/`), `fixtures/README.md lacks "## ${name}/"`)
})

t.test('every room is in ARCHITECTURE.md', async (t) => {
  const text = read('ARCHITECTURE.md')
  for (const room of new Set(sources.map(roomOf))) {
    const name = room === 'bin' ? 'bin/' : room === 'door' ? 'lib/index.ts' : `lib/${room}`
    t.ok(text.includes(`\`${name}\``), `ARCHITECTURE.md lacks ${name}`)
  }
})

t.test('nothing tells of one machine', async (t) => {
  // Put together here, or this file would be the first to hit.
  const banned = [
    `/${'work'}/`,
    `/home/${'user'}`,
    ['registry', 'npmjs', 'org'].join('.'),
    ['registry', 'yarnpkg'].join('.'),
  ]
  for (const file of tracked.filter((file) => !/^fixtures\/.*(?:\/store\/|\.fl$|\.flist$)/.test(file))) {
    const text = read(file)
    for (const word of banned) t.notOk(text.includes(word), `${file} says "${word}"`)
  }
})

t.test('every verb has examples, and they are understood', async (t) => {
  // `resume` is for the supervisor alone.
  const verbs = () => program().commands.filter((verb) => verb.name() !== 'resume')
  const program = () => buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
  for (const verb of verbs()) t.ok(EXAMPLES[verb.name()], `bin/examples.ts lacks examples of ${verb.name()}`)
  for (const [name, examples] of Object.entries(EXAMPLES)) {
    for (const [words] of examples) {
      const asked = program()
      const found = asked.commands.find((command) => command.name() === name)
      const verb = found?.commands.find((command) => command.name() === words.split(' ')[1]) ?? found
      let ran = false
      verb?.exitOverride().action(() => void (ran = true))
      await asked.parseAsync(words.split(' '), { from: 'user' })
      t.ok(ran, `flistfs ${words}`)
    }
  }
  const written = read('docs/cli.md')
  for (const verb of verbs()) {
    t.ok(written.includes(`## ${verb.name()}`), `docs/cli.md lacks "## ${verb.name()}"`)
    const options = [verb, ...verb.commands].flatMap((command) => command.options)
    for (const option of options) t.ok(written.includes(option.long ?? ''), `docs/cli.md lacks ${option.long}`)
  }
})
