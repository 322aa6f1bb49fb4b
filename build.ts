import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { build, type BuildOptions } from 'esbuild'
import { manPages } from './bin/man-pages.ts'
import { Output } from './bin/output.ts'
import { buildProgram } from './bin/program.ts'
import { packageVersion } from './lib/base/index.ts'
import { bareKoffi, inlined, lateBuiltins } from './scripts/bundle-plugins.ts'

/*
 * What is published, into dist/ or the folder that is named: the program, the library and its threads, types. Bundled, because
 * each module that Node loads costs a start 0.2 ms and the program has two hundred (docs/decisions/004, 165).
 */
const root = import.meta.dirname
const out = resolve(process.argv[2] ?? join(root, 'dist'))
rmSync(out, { recursive: true, force: true })
const shared = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node24',
  packages: 'external',
  outdir: out,
  entryNames: '[name]',
  logLevel: 'warning',
} satisfies BuildOptions

/** What an ES module has; and a clock, where the global one loads 2 ms of modules to measure more than we ask. */
const BANNER = `const fileUrl = process.getBuiltinModule('node:url').pathToFileURL(__filename).href
function millisecondsNow() {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}`

// The library, for others to import, and the threads that it starts: they are named beside the file that starts them.
await build({
  ...shared,
  entryPoints: [
    'lib/index.ts',
    'lib/commands/fetch-thread.ts',
    'lib/store/decode-worker.ts',
    'lib/make/block-worker.ts',
  ],
  splitting: true,
  format: 'esm',
  chunkNames: '[name]-[hash]',
})
// The program is one file of CommonJS: an ES module cannot import from Node's own ones without loading all they have.
const program = {
  ...shared,
  entryPoints: ['bin/flistfs.ts'],
  define: { 'import.meta.url': 'fileUrl', 'import.meta.dirname': '__dirname', 'performance.now': 'millisecondsNow' },
  banner: { js: BANNER },
  logOverride: { 'import-is-undefined': 'error' },
  plugins: [inlined(['commander'], root), bareKoffi(root)],
} satisfies BuildOptions
await build({
  ...program,
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  plugins: [...program.plugins, await lateBuiltins(program)],
})
const tsc = join(root, 'node_modules/.bin/tsc')
execFileSync(tsc, ['-p', 'tsconfig.build.json', '--outDir', join(out, 'types')], { cwd: root, stdio: 'inherit' })

// The pages of man(1) say what the program's own parser says.
const words = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
mkdirSync(join(out, 'man'))
for (const [name, text] of manPages(words, packageVersion())) writeFileSync(join(out, 'man', name), text)
