import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { manPages } from './bin/man-pages.ts'
import { Output } from './bin/output.ts'
import { buildProgram } from './bin/program.ts'
import { packageVersion } from './lib/base/index.ts'
import { bundleLibrary, bundleProgram, bundleThreads } from './scripts/bundle.ts'

/*
 * What is published, into dist/ or the folder that is named: the program, the library and its threads, types. Bundled, because
 * each module that Node loads costs a start 0.2 ms and the program has two hundred (docs/decisions/004, 165).
 */
const root = import.meta.dirname
const out = resolve(process.argv[2] ?? join(root, 'dist'))
rmSync(out, { recursive: true, force: true })
await bundleLibrary(root, out)
await bundleThreads(root, out)
await bundleProgram(root, out)
const tsc = join(root, 'node_modules/.bin/tsc')
execFileSync(tsc, ['-p', 'tsconfig.build.json', '--outDir', join(out, 'types')], { cwd: root, stdio: 'inherit' })

// The pages of man(1) say what the program's own parser says.
const words = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
mkdirSync(join(out, 'man'))
for (const [name, text] of manPages(words, packageVersion())) writeFileSync(join(out, 'man', name), text)
