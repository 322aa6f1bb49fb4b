import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { manPages } from './bin/man-pages.ts'
import { Output } from './bin/output.ts'
import { buildProgram } from './bin/program.ts'
import { packageVersion } from './lib/base/index.ts'

/*
 * What is published: the program and the library as a few flat files in dist/, types beside them. Bundled, because each
 * module that Node loads costs a start 0.2 ms and the program has two hundred (docs/decisions/004-bundle.md).
 */
const root = import.meta.dirname
rmSync(join(root, 'dist'), { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: ['bin/flistfs.ts', 'lib/index.ts', 'lib/commands/fetch-thread.ts', 'lib/store/decode-worker.ts'],
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  packages: 'external',
  // Threads are named beside the file that starts them, so all lie in one folder.
  outdir: 'dist',
  entryNames: '[name]',
  chunkNames: '[name]-[hash]',
  logLevel: 'warning',
})
const tsc = join(root, 'node_modules/.bin/tsc')
execFileSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })

// The pages of man(1) say what the program's own parser says.
const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
mkdirSync(join(root, 'dist/man'))
for (const [name, text] of manPages(program, packageVersion())) writeFileSync(join(root, 'dist/man', name), text)
