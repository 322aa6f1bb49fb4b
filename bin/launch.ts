import { Buffer } from 'node:buffer'
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { Script } from 'node:vm'

/*
 * What is published as dist/flistfs.cjs: it runs the program, which lies beside it. Node keeps of a program what it compiled before
 * it ran. A server keeps all that its start needed: 400 functions, a third of what is ours of a start (docs/decisions/165-start.md).
 */

/** The program's file: its name tells what is in it. */
declare const PROGRAM: string

/** Milliseconds after it says that it serves, a server has time. */
const KEEP_AFTER_MS = 3000

type Wrapped = (exports: object, require: NodeJS.Require, module: object, filename: string, dirname: string) => void

/** Where what `verb` compiled is kept; undefined: it is kept nowhere. */
function keptAt(verb: string | undefined): string | undefined {
  const folder = process.env['NODE_COMPILE_CACHE']
  if (!folder || process.env['NODE_DISABLE_COMPILE_CACHE'] || (verb !== 'mount' && verb !== 'resume')) return undefined
  return join(folder, `flistfs-${verb}-${process.version}-${process.arch}-${process.geteuid?.()}`)
}

/** V8 does not look for damage: what is kept is there twice, behind the name of the program. */
function readKept(path: string): Buffer | undefined {
  try {
    const fd = openSync(path, 'r')
    try {
      if (fstatSync(fd).uid !== process.geteuid?.()) return undefined
      const bytes = readFileSync(fd)
      const half = (bytes.length - PROGRAM.length) / 2
      if (half < 1 || bytes.toString('latin1', 0, PROGRAM.length) !== PROGRAM) return undefined
      const first = bytes.subarray(PROGRAM.length, PROGRAM.length + half)
      return first.equals(bytes.subarray(PROGRAM.length + half)) ? first : undefined
    } finally {
      closeSync(fd)
    }
  } catch {
    return undefined
  }
}

/** What cannot be kept is compiled again. */
function keep(path: string, compiled: Buffer): void {
  const passing = `${path}.${process.pid}`
  try {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(passing, Buffer.concat([Buffer.from(PROGRAM), compiled, compiled]), { mode: 0o600, flag: 'wx' })
    renameSync(passing, path)
  } catch {
    rmSync(passing, { force: true })
  }
}

function runKept(filename: string, path: string): void {
  // ASCII, as esbuild writes it: then it is no more than copied.
  const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(filename, 'latin1')}\n})`
  const cachedData = readKept(path)
  const script = new Script(source, {
    filename,
    ...(cachedData && { cachedData }),
  })
  const program = script.runInThisContext() as Wrapped
  program(module.exports as object, require, module, filename, __dirname)
  if (cachedData !== undefined && script.cachedDataRejected === false) return
  // Not from the start: a first mount may compile its archive for long, and has run little of what serves.
  process.once('flistfs-serves', () => {
    setTimeout(() => keep(path, script.createCachedData()), KEEP_AFTER_MS).unref()
  })
}

/** bin/node asks those on PATH for their version, but FLISTFS_NODE is the user's word. */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 24 || (major === 24 && minor < 15)) {
  const message = `Cannot run under Node.js ${process.versions.node}: 24.15 is wanted`
  const hint = 'Name a newer one in FLISTFS_NODE, or none'
  const error = JSON.stringify({ error: { code: 'FLIST_SYSTEM', message, hint, exit: 1 } })
  writeSync(2, process.argv.includes('--json') ? `${error}\n` : `flistfs: ${message}\n  hint: ${hint}\n`)
  process.exit(1)
}
const path = keptAt(process.argv[2])
if (path === undefined) require(`./${PROGRAM}`)
else runKept(join(__dirname, PROGRAM), path)
