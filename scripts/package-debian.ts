import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { MOUNTS_COMMAND } from '../bin/completion-model.ts'
import { HELPERS } from '../lib/commands/setup.ts'
import { unitText } from '../lib/commands/unit.ts'
import { copyrightText } from './copyright.ts'
import { type Architecture, DESCRIPTION, HOMEPAGE, normalise, run, VERSION } from './package-tree.ts'

/** As Debian names them. */
const DEBIAN: Readonly<Record<Architecture, string>> = { x64: 'amd64', arm64: 'arm64' }

/** A Debian package of a tree, with all of it where Debian has such things. `root` is a folder to make it in. */
export function makeDebian(tree: string, root: string, arch: Architecture, out: string): string {
  const home = '/usr/lib/flistfs'
  cpSync(tree, join(root, home), { recursive: true, verbatimSymlinks: true })
  rmSync(join(root, home, 'docs'), { recursive: true })
  // `flistfs setup` sees by this that it has nothing to do but the links for Zero-OS.
  write(join(root, home, 'PACKAGED'), 'Debian\n')
  link(root, '/usr/bin/flistfs', `${home}/bin/flistfs`)
  for (const [name, to] of HELPERS) link(root, `/usr/sbin/${name}`, `${home}/bin/${to}`)
  write(join(root, '/usr/lib/systemd/system/flistfs@.service'), unitText('/usr/bin/flistfs'))
  // By the Node of this machine: that of the package may be for another.
  const completion = (shell: string): string => run('sh', ['bin/node', 'bin/flistfs.ts', 'completion', shell])
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
  write(join(root, 'DEBIAN/control'), controlText(DEBIAN[arch], size))
  for (const [name, script] of Object.entries(SCRIPTS)) write(join(root, 'DEBIAN', name), script, 0o755)
  normalise(root)
  const path = join(out, `flistfs_${VERSION}_${DEBIAN[arch]}.deb`)
  run('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z6', '--build', root, path])
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

function controlText(arch: string, size: number): string {
  return `Package: flistfs
Version: ${VERSION}
Architecture: ${arch}
Maintainer: The flistfs project
Installed-Size: ${size}
Depends: libc6 (>= 2.28), libstdc++6, libgcc-s1, mount
Suggests: fuse3
Section: utils
Priority: optional
${HOMEPAGE === undefined ? '' : `Homepage: ${HOMEPAGE}\n`}Description: ${DESCRIPTION.split('\n')[0]}
 Archives (.fl, .flist) are mounted at once; what is read is fetched, checked and kept.
 This package carries the Node.js it runs on.
`
}

const SCRIPTS = {
  // Mounts that stand go over to the new program; who reads waits for a moment.
  postinst: `#!/bin/sh
set -e
if [ "$1" = configure ]; then
  if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
  if [ -n "$2" ]; then flistfs upgrade --all >/dev/null || true; fi
fi
`,
  // Without the program nobody brings a server back. What is in use is named, and stays.
  prerm: `#!/bin/sh
set -e
if [ "$1" = remove ]; then
  if [ -d /run/systemd/system ]; then systemctl stop 'flistfs@*.service' || true; fi
  ${MOUNTS_COMMAND} | while read -r line; do
    flistfs umount "$(printf '%b' "$line")" </dev/null >/dev/null || true
  done
  flistfs setup --remove >/dev/null || true
fi
`,
  postrm: `#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
if [ "$1" = purge ]; then rm -rf /var/cache/flistfs; fi
`,
}
