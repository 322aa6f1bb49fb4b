import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, type BuildOptions } from 'esbuild'
import { bareKoffi, inlined, lateBuiltins } from './bundle-plugins.ts'

const SHARED = {
  bundle: true,
  platform: 'node',
  target: 'node24',
  packages: 'external',
  entryNames: '[name]',
  logLevel: 'warning',
} satisfies BuildOptions

/** Packages that are part of the program. Their licences lie beside it. */
const INLINED = ['commander']

/** What an ES module has; and a clock, where the global one loads 2 ms of modules to measure more than we ask. */
const BANNER = `const fileUrl = process.getBuiltinModule('node:url').pathToFileURL(__filename).href
function millisecondsNow() {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}`

/** The library, for others to import, and the threads that it starts: they are named beside the file that starts them. */
export async function bundleLibrary(root: string, out: string): Promise<void> {
  await build({
    ...SHARED,
    absWorkingDir: root,
    outdir: out,
    entryPoints: [
      'lib/index.ts',
      'lib/commands/fetch-thread.ts',
      'lib/commands/compile-thread.ts',
      'lib/store/decode-worker.ts',
      'lib/store/block-worker.ts',
    ],
    splitting: true,
    format: 'esm',
    chunkNames: '[name]-[hash]',
  })
}

/**
 * The program, as one file of CommonJS: an ES module cannot import from Node's own ones without loading all they have
 * (docs/decisions/165-start.md).
 */
export async function bundleProgram(root: string, out: string): Promise<void> {
  const options = {
    ...SHARED,
    absWorkingDir: root,
    outdir: out,
    entryPoints: ['bin/flistfs.ts'],
    define: { 'import.meta.url': 'fileUrl', 'import.meta.dirname': '__dirname', 'performance.now': 'millisecondsNow' },
    banner: { js: BANNER },
    logOverride: { 'import-is-undefined': 'error' },
    plugins: [inlined(INLINED, root), bareKoffi(root)],
  } satisfies BuildOptions
  const plugins = [...options.plugins, await lateBuiltins(options)]
  await build({ ...options, format: 'cjs', outExtension: { '.js': '.cjs' }, plugins })
  for (const name of INLINED) copyFileSync(join(root, 'node_modules', name, 'LICENSE'), join(out, `${name}.LICENSE`))
}
