import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { bundleProgram, bundleThreads } from '../scripts/bundle.ts'

/*
 * `published.ts FOLDER`: the program as it is published, in a folder of its own, for tests that run it as a process (test/run.sh).
 * It is what users have, and it starts in a third of the processor time that the source takes.
 */
const ROOT = resolve(import.meta.dirname, '..')
const out = resolve(process.argv[2] ?? 'published')

mkdirSync(out, { recursive: true })
for (const name of ['node_modules', 'fixtures']) symlinkSync(join(ROOT, name), join(out, name))
cpSync(join(ROOT, 'package.json'), join(out, 'package.json'))
cpSync(join(ROOT, 'bin'), join(out, 'bin'), { recursive: true, filter: (path) => !path.endsWith('.ts') })
await bundleThreads(ROOT, join(out, 'dist'))
await bundleProgram(ROOT, join(out, 'dist'))
