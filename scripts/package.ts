import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { copyrightText } from './copyright.ts'
import { makeDebian } from './package-debian.ts'
import { ARCHITECTURES, type Architecture, EPOCH, makeTree, normalise, ROOT, run, VERSION } from './package-tree.ts'

/*
 * `npm run package [OUT] [-- --arch x64|arm64]`: a tar and a Debian package for each processor, or that one, which carry Node
 * and the packages we need, for machines without either. They are made on any of them. The same commit gives the same tree;
 * times are those of the commit (SOURCE_DATE_EPOCH). docs/packaging.md says what is in them.
 */
const { values, positionals } = parseArgs({
  options: { arch: { type: 'string', multiple: true } },
  allowPositionals: true,
})
const OUT = resolve(positionals[0] ?? join(ROOT, 'packages'))

function architectures(words: readonly string[]): readonly Architecture[] {
  return words.map((word) => {
    const found = ARCHITECTURES.find((arch) => arch === word)
    if (found === undefined) throw new Error(`"${word}" after --arch is none of ${ARCHITECTURES.join(', ')}`)
    return found
  })
}

function makeTar(tree: string, name: string): string {
  const path = join(OUT, `${name}.tar.gz`)
  const words = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu', '--clamp-mtime']
  run('tar', [...words, `--mtime=@${EPOCH}`, '-I', 'gzip -n -6', '-cf', path, '-C', dirname(tree), name])
  return path
}

function makePackages(built: string, work: string, arch: Architecture): void {
  const name = `flistfs-${VERSION}-linux-${arch}`
  const tree = join(work, name)
  makeTree(built, tree, arch)
  writeFileSync(join(tree, 'copyright'), copyrightText(tree, '.'))
  normalise(tree)
  process.stdout.write(`${makeTar(tree, name)}\n`)
  rmSync(join(tree, 'copyright'))
  process.stdout.write(`${makeDebian(tree, join(work, `deb-${arch}`), arch, OUT)}\n`)
}

const wanted = architectures(values.arch ?? ARCHITECTURES)
const work = mkdtempSync(join(tmpdir(), 'flistfs-package-'))
try {
  mkdirSync(OUT, { recursive: true })
  const built = join(work, 'dist')
  run('sh', ['bin/node', 'build.ts', built])
  for (const arch of wanted) makePackages(built, work, arch)
} finally {
  rmSync(work, { recursive: true, force: true })
}
