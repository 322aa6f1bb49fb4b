import { createHash } from 'node:crypto'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, type BuildOptions } from 'esbuild'
import { bareKoffi, inlined, lateBuiltins } from './bundle-plugins.ts'

const SHARED = {
  bundle: true,
  platform: 'node',
  target: 'node24',
  packages: 'external',
  logLevel: 'warning',
} satisfies BuildOptions

/** Packages that are part of the program. Their licences lie beside it. */
const INLINED = ['commander']

/** What an ES module has. */
const FILE_URL = "const fileUrl = process.getBuiltinModule('node:url').pathToFileURL(__filename).href"
const OF_MODULES = { 'import.meta.url': 'fileUrl', 'import.meta.dirname': '__dirname' }

/** Packages by `require`, which is quicker; and of an `import()` in what bin/launch.ts compiles Node warns on stderr. */
const BY_REQUIRE = { 'dynamic-import': false }

/** A clock, where the global one loads 2 ms of modules to measure more than we ask. */
const CLOCK = `function millisecondsNow() {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}`

const THREADS = [
  'lib/commands/fetch-thread.ts',
  'lib/commands/compile-thread.ts',
  'lib/store/decode-worker.ts',
  'lib/store/block-worker.ts',
  'lib/make/unpack/maker-worker.ts',
]

/** The library, for others to import. */
export async function bundleLibrary(root: string, out: string): Promise<void> {
  await build({
    ...SHARED,
    absWorkingDir: root,
    outdir: out,
    entryNames: '[name]',
    entryPoints: ['lib/index.ts'],
    splitting: true,
    format: 'esm',
    chunkNames: '[name]-[hash]',
  })
}

/** What library and program start as threads, beside the file that starts them: one file each, as the program is. */
export async function bundleThreads(root: string, out: string): Promise<void> {
  const options = {
    ...SHARED,
    absWorkingDir: root,
    outdir: out,
    entryNames: '[name]',
    outExtension: { '.js': '.cjs' },
    entryPoints: THREADS,
    define: OF_MODULES,
    banner: { js: FILE_URL },
    logOverride: { 'import-is-undefined': 'error' },
    plugins: [bareKoffi(root)],
  } satisfies BuildOptions
  const plugins = [...options.plugins, await lateBuiltins(options)]
  await build({ ...options, supported: BY_REQUIRE, format: 'cjs', plugins })
}

/**
 * The program, as one file of CommonJS: an ES module cannot import from Node's own ones without loading all they have
 * (docs/decisions/165-start.md). Before it comes what runs it, `flistfs.cjs`.
 */
export async function bundleProgram(root: string, out: string): Promise<void> {
  const options = {
    ...SHARED,
    absWorkingDir: root,
    outdir: out,
    entryPoints: ['bin/flistfs.ts'],
    define: { ...OF_MODULES, 'performance.now': 'millisecondsNow' },
    banner: { js: `${FILE_URL}\n${CLOCK}` },
    logOverride: { 'import-is-undefined': 'error' },
    plugins: [inlined(INLINED, root), bareKoffi(root)],
  } satisfies BuildOptions
  const plugins = [...options.plugins, await lateBuiltins(options)]
  const { outputFiles } = await build({ ...options, supported: BY_REQUIRE, format: 'cjs', plugins, write: false })
  const program = outputFiles.map(({ contents }) => Buffer.from(contents))
  const [text] = program
  // One file, of ASCII: it is read as Latin-1.
  if (text === undefined || program.length > 1 || text.some((byte) => byte > 0x7f))
    throw new Error('not one file of ASCII')
  const name = `program-${createHash('sha256').update(text).digest('hex').slice(0, 32)}.cjs`
  await build({
    ...SHARED,
    absWorkingDir: root,
    outfile: join(out, 'flistfs.cjs'),
    entryPoints: ['bin/launch.ts'],
    format: 'cjs',
    define: { PROGRAM: JSON.stringify(name) },
  })
  writeFileSync(join(out, name), text)
  for (const name of INLINED) copyFileSync(join(root, 'node_modules', name, 'LICENSE'), join(out, `${name}.LICENSE`))
}
