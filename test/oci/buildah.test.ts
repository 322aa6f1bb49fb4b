import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { Buildah, NO_BUILDAH } from './buildah.ts'
import { convertIn, differences } from './convert-it.ts'
import { type ImageSpec, writeLayout } from './make-image.ts'
import { IMAGES } from './sample-images.ts'

const dir = t.testdir()
const NO_PACKER = NO_BUILDAH || (spawnSync('skopeo', ['--version']).status !== 0 && 'needs skopeo: sh test/setup.sh')

/** What buildah will not unpack (1.28). umoci does, and so do we: `umoci.test.ts`. */
const REFUSED = new Map([
  ['whiteout-behind', 'a name twice in one layer of zstd'],
  ['whiteout-below-a-file', 'a whiteout below what is a file now'],
])

/** Where buildah stands alone against umoci and us: it leaves the time of the unpacking on a folder that later layers change. */
const ITS_OWN: Readonly<Record<string, readonly string[]>> = {
  whiteouts: ['changed a mtime', 'added absent'],
  opaque: ['changed d mtime'],
  // Its copy of a tree does not know hard links of symbolic links.
  'links-across': ['changed s links', 'changed t links'],
  'through-links': ['changed run mtime', 'changed usr mtime', 'changed usr/bin mtime'],
  // It keeps attributes that an entry of a higher layer does not have.
  attributes: ['changed dir xattrs'],
  // Nothing is older than 1970 there.
  times: ['changed before-1970 mtime', 'changed long-ago mtime'],
  'many-files': ['changed many mtime'],
}

function zstd(spec: ImageSpec): ImageSpec {
  return { ...spec, layers: spec.layers.map((layer) => ({ ...layer, packing: 'zstd' })) }
}

/** Its root has the mode and time of the folder that it made, also where the image tells of one. */
const isOfRoot = (line: string): boolean => line.startsWith('changed  ')

t.test('convert() makes of zstd layers what buildah mounts', { skip: NO_BUILDAH }, async (t) => {
  const buildah = new Buildah(dir)
  t.teardown(() => buildah.close())
  const layout = join(dir, 'layout')
  writeLayout(layout, Object.fromEntries(Object.entries(IMAGES).map(([tag, spec]) => [tag, zstd(spec)])))
  for (const tag of Object.keys(IMAGES)) {
    const reason = REFUSED.get(tag)
    if (reason !== undefined) {
      t.comment(`${tag}: buildah does not take ${reason}`)
      continue
    }
    const { path } = await convertIn(dir, `oci:${layout}:${tag}`, tag)
    const own = ITS_OWN[tag] ?? []
    const found = await differences(dir, path, buildah.unpacked(`oci:layout:${tag}`))
    t.strictSame(
      found.filter((line) => !isOfRoot(line) && !own.includes(line)),
      [],
      tag,
    )
  }
})

/** The programs with the libraries that they name, in a folder that will be a root. */
function copyPrograms(root: string, programs: readonly string[]): void {
  mkdirSync(join(root, 'bin'), { recursive: true })
  for (const program of programs) {
    const found = execFileSync('/bin/sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim()
    copyFileSync(realpathSync(found), join(root, 'bin', program))
    const { stdout } = spawnSync('ldd', [found], { encoding: 'utf8' })
    for (const [library] of stdout.matchAll(/\/\S+/g)) {
      if (!statSync(library, { throwIfNoEntry: false })?.isFile()) continue
      mkdirSync(join(root, dirname(library)), { recursive: true })
      copyFileSync(library, join(root, library))
    }
  }
}

const DOCKERFILE = `FROM scratch
COPY root/ /
COPY --chown=7:8 note /srv/note
RUN mkdir -p /made/deep && echo made > /made/deep/file && ln /made/deep/file /made/again && ln -s deep /made/link
RUN chmod 4711 /srv/note && rm -r /gone /made/link && mkdir /made/link && echo new > /made/link/new
ENV A=b
CMD ["/bin/sh"]
`

t.test(
  'convert() makes of an image that buildah built what buildah mounts, however it is packed',
  { skip: NO_PACKER },
  async (t) => {
    const buildah = new Buildah(dir)
    t.teardown(() => buildah.close())
    const context = join(dir, 'context')
    mkdirSync(join(context, 'root/gone/away'), { recursive: true })
    writeFileSync(join(context, 'root/gone/away/file'), 'x')
    writeFileSync(join(context, 'note'), 'note')
    writeFileSync(join(context, 'Dockerfile'), DOCKERFILE)
    copyPrograms(join(context, 'root'), ['sh', 'mkdir', 'ln', 'chmod', 'rm'])
    const { policy } = buildah
    buildah.run('build', '--layers', '--format', 'oci', '--signature-policy', policy, '--tag', 'app', context)
    const folder = buildah.unpacked('localhost/app')
    t.strictSame(readdirSync(join(folder, 'made')).toSorted(), ['again', 'deep', 'link'], 'its programs ran')
    const digests = new Set<string>()
    for (const packing of ['gzip', 'zstd', 'zstd:chunked']) {
      const tag = packing.replace(':', '-')
      buildah.run(
        'push',
        '--signature-policy',
        policy,
        '--compression-format',
        packing,
        'localhost/app',
        `oci:built:${tag}`,
      )
      const made = await convertIn(dir, `oci:${dir}/built:${tag}`, `built-${tag}`)
      t.equal(made.layers, 4, `${packing}: its layers`)
      t.strictSame(
        (await differences(dir, made.path, folder)).filter((line) => !isOfRoot(line)),
        [],
        packing,
      )
      digests.add(made.digest)
    }
    t.equal(digests.size, 1, 'and one archive')
    t.ok(hasChunks(join(dir, 'built/blobs/sha256')), 'zstd:chunked says where its files are')
  },
)

/** Whether a manifest there tells of layers in chunks, which end with frames that hold no data. */
function hasChunks(folder: string): boolean {
  return readdirSync(folder).some((name) => {
    const path = join(folder, name)
    return statSync(path).size < 10_000 && readFileSync(path, 'latin1').includes('zstd-chunked.manifest-position')
  })
}
