/*
 * The long form of the tests of images (`npm run test:images`): a Debian made by mmdebstrap (or the tar named by FLISTFS_DEBIAN_TAR), changed
 * into layers by umoci, packed with zstd and zstd:chunked by skopeo, and small images made by chance (FLISTFS_RANDOM_IMAGES of them); each
 * converted and compared with what umoci unpacks and buildah mounts.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  cpSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportArchive, FlistError } from '../lib/index.ts'
import { Buildah, NO_BUILDAH } from './oci/buildah.ts'
import { convertIn, differences, signal } from './oci/convert-it.ts'
import { writeLayout } from './oci/make-image.ts'
import { randomImage } from './oci/random-image.ts'

const dir = mkdtempSync(join(tmpdir(), 'flistfs-images-'))
const layout = join(dir, 'layout')
let failed = 0

function run(command: string, ...words: string[]): string {
  return execFileSync(command, words, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 1_800_000,
    cwd: dir,
  }).trim()
}

function timed<T>(work: () => T): [result: T, seconds: string] {
  const begun = performance.now()
  const result = work()
  return [result, ((performance.now() - begun) / 1000).toFixed(1)]
}

function check(name: string, found: readonly string[]): void {
  if (found.length > 0) failed += 1
  console.log(
    `${found.length === 0 ? 'ok' : 'not ok'} - ${name}${found
      .slice(0, 20)
      .map((line) => `\n    ${line}`)
      .join('')}`,
  )
}

/** Ends with two empty blocks and no more: of more, skopeo (1.9) loses some when it packs with zstd:chunked, and the layer is another one. */
function debianTar(): string {
  const named = process.env['FLISTFS_DEBIAN_TAR']
  const tar = join(dir, 'debian.tar')
  if (named !== undefined) copyFileSync(named, tar)
  // A machine whose clock is wrong, or a mirror that is late, is as good here.
  else run('mmdebstrap', '--variant=minbase', '--aptopt=Acquire::Check-Valid-Until "false"', 'stable', 'debian.tar')
  const file = openSync(tar, 'r+')
  const last = Buffer.alloc(65_536)
  const { size } = fstatSync(file)
  readSync(file, last, 0, last.length, size - last.length)
  const end = last.length - last.findLastIndex((byte) => byte !== 0) - 1
  ftruncateSync(file, size - (end - (end % 512)) + 1024)
  closeSync(file)
  return tar
}

/** What package managers and people do to a root. */
const CHANGES: Readonly<Record<string, (root: string) => void>> = {
  removed: (root) => {
    rmSync(join(root, 'usr/share/doc'), { recursive: true })
    rmSync(join(root, 'usr/bin/perl'), { force: true })
    mkdirSync(join(root, 'usr/share/doc/new'), { recursive: true })
    writeFileSync(join(root, 'usr/share/doc/new/file'), 'new')
  },
  replaced: (root) => {
    rmSync(join(root, 'etc/hostname'), { force: true })
    symlinkSync('/proc/sys/kernel/hostname', join(root, 'etc/hostname'))
    rmSync(join(root, 'usr/share/zoneinfo'), { recursive: true, force: true })
    writeFileSync(join(root, 'usr/share/zoneinfo'), 'a file now')
    linkSync(join(root, 'etc/passwd'), join(root, 'etc/passwd.link'))
    execFileSync('chmod', ['-R', 'u+s', join(root, 'usr/sbin')])
  },
  added: (root) => {
    cpSync(join(root, 'usr/lib'), join(root, 'opt/lib'), { recursive: true, verbatimSymlinks: true })
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'x', join(root, 'opt/lib')])
    execFileSync('mknod', [join(root, 'opt/dev'), 'c', '10', '229'])
    execFileSync('truncate', ['-s', '300M', join(root, 'opt/hole')])
  },
}

async function compare(tag: string): Promise<string> {
  const [, unpackSeconds] = timed(() =>
    run('umoci', 'unpack', '--image', `${layout}:${tag}`, join(dir, `unpacked-${tag}`)),
  )
  const begun = performance.now()
  const made = await convertIn(dir, `oci:${layout}:${tag}`, tag, { threads: undefined })
  const seconds = ((performance.now() - begun) / 1000).toFixed(1)
  check(`${tag}: as umoci unpacks it`, await differences(dir, made.path, join(dir, `unpacked-${tag}/rootfs`)))
  console.log(
    `# ${tag}: ${made.layers} layers, ${made.entries} entries; umoci ${unpackSeconds} s, convert ${seconds} s`,
  )
  rmSync(join(dir, `unpacked-${tag}`), { recursive: true })
  return made.digest
}

/** buildah (1.28) refuses whiteouts below what is a file now, which umoci writes where a folder became a file. */
const NOT_FOR_BUILDAH = new Set(['replaced', 'added'])

/** Its own root, and the times of folders that a later layer changed without an entry of them. */
const isOfBuildah = (line: string): boolean => line.startsWith('changed  ')

async function compareZstd(tag: string, packing: 'zstd' | 'zstd:chunked', digest: string): Promise<void> {
  const folder = packing.replace(':', '-')
  const words = ['--insecure-policy', 'copy', '--dest-compress-format', packing]
  run('skopeo', ...words, `oci:${layout}:${tag}`, `oci:${dir}/${folder}:${tag}`)
  const made = await convertIn(dir, `oci:${dir}/${folder}:${tag}`, `${tag}-${folder}`)
  check(`${tag}: the same packed with ${packing}`, made.digest === digest ? [] : [`${made.digest}, not ${digest}`])
  if (NO_BUILDAH !== false || NOT_FOR_BUILDAH.has(tag)) {
    console.log(`# ${tag}: not compared with buildah: ${NO_BUILDAH || 'it does not take this image'}`)
    return
  }
  const buildah = new Buildah(dir)
  try {
    const found = await differences(dir, made.path, buildah.unpacked(`oci:${folder}:${tag}`))
    check(
      `${tag}: as buildah mounts it, packed with ${packing}`,
      found.filter((line) => !isOfBuildah(line)),
    )
  } finally {
    buildah.close()
  }
}

async function compareExport(tag: string): Promise<void> {
  const words = { archive: join(dir, `${tag}.fl`), cacheDir: join(dir, 'cache') }
  const image = `docker-archive:${dir}/${tag}.tar:${tag}:latest`
  await exportArchive({ ...words, image, onWarning: console.log }, signal())
  const back = await convertIn(dir, image, `${tag}-back`)
  check(`${tag}: exported and converted again`, await differences(dir, words.archive, back.path))
}

/** Layers by chance: both refuse them, or both make the same of them. Folders that no entry tells of have the time of the unpacking. */
async function compareRandom(seed: number): Promise<void> {
  const folder = join(dir, 'random')
  writeLayout(folder, { x: randomImage(seed) })
  const { status } = spawnSync('umoci', ['unpack', '--image', `${folder}:x`, join(folder, 'bundle')], {
    stdio: 'ignore',
  })
  try {
    const { path } = await convertIn(dir, `oci:${folder}:x`, 'random')
    const found =
      status === 0 ? await differences(dir, path, join(folder, 'bundle/rootfs'), ['mtime']) : ['umoci refuses it']
    if (found.length > 0) check(`layers by chance, seed ${seed}`, found)
  } catch (error) {
    if (status === 0 || !(error instanceof FlistError)) check(`layers by chance, seed ${seed}`, [String(error)])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

try {
  const seeds = Number(process.env['FLISTFS_RANDOM_IMAGES'] ?? 100)
  for (let seed = 0; seed < seeds; seed += 1) await compareRandom(seed)
  check(`${seeds} images of layers by chance: as umoci unpacks them, or refused as it does`, [])
  const tar = debianTar()
  run('umoci', 'init', '--layout', layout)
  run('umoci', 'new', '--image', `${layout}:base`)
  run('umoci', 'raw', 'add-layer', '--image', `${layout}:base`, tar)
  const digests = new Map([['base', await compare('base')]])
  const bundle = join(dir, 'bundle')
  run('umoci', 'unpack', '--image', `${layout}:base`, bundle)
  for (const [tag, change] of Object.entries(CHANGES)) {
    change(join(bundle, 'rootfs'))
    run('umoci', 'repack', '--refresh-bundle', '--image', `${layout}:${tag}`, bundle)
    digests.set(tag, await compare(tag))
  }
  for (const [tag, digest] of digests) {
    await compareZstd(tag, 'zstd', digest)
    await compareZstd(tag, 'zstd:chunked', digest)
  }
  await compareExport('added')
} finally {
  rmSync(dir, { recursive: true, force: true })
}
console.log(failed === 0 ? '# all the same' : `# ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
