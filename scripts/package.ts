import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { unitText } from '../lib/commands/unit.ts'
import { copyrightText } from './copyright.ts'

/*
 * `npm run package [OUT]`: a tar and a Debian package for this machine's processor, which carry Node and the packages we need,
 * for machines without either. The same commit gives the same tree; times are those of the commit (SOURCE_DATE_EPOCH).
 * docs/packaging.md says what is in them.
 */
const ROOT = resolve(import.meta.dirname, '..')
const OUT = resolve(process.argv[2] ?? join(ROOT, 'packages'))
const DEB_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }
/** What the program needs at run time, of what is published. */
const SHIPPED = ['bin', 'dist', 'fixtures/sample', 'docs', 'CHANGELOG.md', 'LICENSE', 'README.md', 'package.json']
const { version, description, homepage } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string
  description: string
  homepage?: string
}

function run(command: string, words: readonly string[], cwd = ROOT): string {
  return execFileSync(command, words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], env: ENVIRONMENT })
}

/** Seconds: of the last commit, or what the caller says. */
function epoch(): string {
  if (process.env['SOURCE_DATE_EPOCH']) return process.env['SOURCE_DATE_EPOCH']
  return execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' }).trim()
}
const ENVIRONMENT = { ...process.env, SOURCE_DATE_EPOCH: epoch(), TZ: 'UTC', LC_ALL: 'C' }

/** The program with all it needs, in a folder that may be moved. */
function makeTree(tree: string): void {
  run('sh', ['bin/node', 'build.ts'])
  for (const name of SHIPPED) {
    cpSync(join(ROOT, name), join(tree, name), { recursive: true, filter: (path) => !/\/bin\/[^/]+\.ts$/.test(path) })
  }
  rmSync(join(tree, 'dist/types'), { recursive: true, force: true })
  cpSync(join(ROOT, 'package-lock.json'), join(tree, 'package-lock.json'))
  run('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], tree)
  rmSync(join(tree, 'package-lock.json'))
  prune(join(tree, 'node_modules'))
}

/** Headers, types and sources of packages are of no use at run time. Licences stay. */
function prune(modules: string): void {
  rmSync(join(modules, '.package-lock.json'), { force: true })
  rmSync(join(modules, '.bin'), { recursive: true, force: true })
  for (const name of readdirSync(modules).filter((name) => name.startsWith('node-linux-'))) {
    for (const part of ['include', 'share', 'README.md', 'CHANGELOG.md']) {
      rmSync(join(modules, name, part), { recursive: true, force: true })
    }
    // Only the program: npm is no part of it.
    for (const file of readdirSync(join(modules, name, 'bin'))) {
      if (file !== 'node') rmSync(join(modules, name, 'bin', file), { recursive: true, force: true })
    }
  }
  for (const name of readdirSync(modules, { recursive: true, encoding: 'utf8' })) {
    if (/\.(?:[cm]?ts|map)$/.test(name)) rmSync(join(modules, name), { force: true })
  }
}

/** Modes and times that do not depend on who made the tree, and when. */
function normalise(path: string): void {
  const stat = lstatSync(path)
  if (stat.isDirectory()) for (const name of readdirSync(path)) normalise(join(path, name))
  if (!stat.isSymbolicLink()) chmodSync(path, stat.isDirectory() || stat.mode & 0o100 ? 0o755 : 0o644)
  const seconds = Number(ENVIRONMENT.SOURCE_DATE_EPOCH)
  lutimesSync(path, seconds, seconds)
}

function makeTar(tree: string, name: string): string {
  const path = join(OUT, `${name}.tar.gz`)
  const words = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu', '--clamp-mtime']
  const when = `--mtime=@${ENVIRONMENT.SOURCE_DATE_EPOCH}`
  run('tar', [...words, when, '-I', 'gzip -n -6', '-cf', path, '-C', dirname(tree), name])
  return path
}

function write(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text, { mode })
}

function link(root: string, path: string, target: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  symlinkSync(relative(dirname(path), target), join(root, path))
}

/** Where Debian has its things. */
function makeDebian(tree: string, root: string, arch: string): string {
  const home = '/usr/lib/flistfs'
  cpSync(tree, join(root, home), { recursive: true, verbatimSymlinks: true })
  rmSync(join(root, home, 'docs'), { recursive: true })
  // `flistfs setup` sees by this that it has nothing to do but the links for Zero-OS.
  write(join(root, home, 'PACKAGED'), 'Debian\n')
  link(root, '/usr/bin/flistfs', `${home}/bin/flistfs`)
  link(root, '/usr/sbin/mount.flistfs', `${home}/bin/mount.flistfs`)
  write(join(root, '/usr/lib/systemd/system/flistfs@.service'), unitText('/usr/bin/flistfs'))
  const completion = (shell: string): string => run('sh', [join(tree, 'bin/flistfs'), 'completion', shell])
  write(join(root, '/usr/share/bash-completion/completions/flistfs'), completion('bash'))
  write(join(root, '/usr/share/zsh/vendor-completions/_flistfs'), completion('zsh'))
  write(join(root, '/usr/share/fish/vendor_completions.d/flistfs.fish'), completion('fish'))
  for (const page of readdirSync(join(tree, 'dist/man'))) {
    const section = page.slice(page.lastIndexOf('.') + 1)
    cpSync(join(tree, 'dist/man', page), join(root, `/usr/share/man/man${section}`, page))
    run('gzip', ['-n', '-9', join(root, `/usr/share/man/man${section}`, page)])
  }
  cpSync(join(tree, 'docs'), join(root, '/usr/share/doc/flistfs'), { recursive: true })
  cpSync(join(tree, 'CHANGELOG.md'), join(root, '/usr/share/doc/flistfs/CHANGELOG.md'))
  write(join(root, '/usr/share/doc/flistfs/copyright'), copyrightText(tree, home))
  const size = Number(run('du', ['-sk', '--apparent-size', root]).split('\t')[0])
  write(join(root, 'DEBIAN/control'), controlText(arch, size))
  write(join(root, 'DEBIAN/postinst'), POSTINST, 0o755)
  normalise(root)
  const path = join(OUT, `flistfs_${version}_${arch}.deb`)
  run('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z6', '--build', root, path])
  return path
}

function controlText(arch: string, size: number): string {
  return `Package: flistfs
Version: ${version}
Architecture: ${arch}
Maintainer: The flistfs project
Installed-Size: ${size}
Depends: libc6 (>= 2.28), libstdc++6, libgcc-s1, mount
Suggests: fuse3
Section: utils
Priority: optional
${homepage === undefined ? '' : `Homepage: ${homepage}\n`}Description: ${description.split('\n')[0]}
 Archives (.fl, .flist) are mounted at once; what is read is fetched, checked and kept.
 This package carries the Node.js it runs on.
`
}

/** Mounts that stand go over to the new program; who reads waits for a moment. */
const POSTINST = `#!/bin/sh
set -e
if [ "$1" = configure ]; then
  if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
  if [ -n "$2" ]; then flistfs upgrade --all >/dev/null || true; fi
fi
`

const work = mkdtempSync(join(tmpdir(), 'flistfs-package-'))
try {
  const arch = DEB_ARCH[process.arch]
  if (arch === undefined) throw new Error(`there is no Node package for ${process.arch}`)
  const name = `flistfs-${version}-linux-${process.arch}`
  const tree = join(work, name)
  mkdirSync(OUT, { recursive: true })
  makeTree(tree)
  if (!existsSync(join(tree, `node_modules/node-linux-${process.arch}/bin/node`))) throw new Error('Node is missing')
  writeFileSync(join(tree, 'copyright'), copyrightText(tree, '.'))
  normalise(tree)
  process.stdout.write(`${makeTar(tree, name)}\n`)
  rmSync(join(tree, 'copyright'))
  process.stdout.write(`${makeDebian(tree, join(work, 'deb'), arch)}\n`)
} finally {
  rmSync(work, { recursive: true, force: true })
}
