import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
} from 'node:fs'
import { join } from 'node:path'
import { type Bench, type Outcome, paired, ratio, type Row } from '../row.ts'
import { dropCaches, shell, which } from '../shell.ts'
import { smallFolder } from '../fixtures.ts'

/** Each takes long. */
const REPETITIONS_MAX = 3

/**
 * Archives and blocks of these rows, made anew in each run; `close` takes them away, not before: where many files were just deleted,
 * ext4 looks at each of their inodes before it gives one to a new file, and the next one measured pays for that.
 */
class Place {
  readonly folder: string
  readonly archive: string
  readonly store: string
  readonly #bench: Bench
  #old = 0

  constructor(bench: Bench) {
    this.#bench = bench
    this.folder = bench.systems.scratch('make')
    this.archive = join(this.folder, 'tree.fl')
    this.store = join(this.folder, 'store')
  }

  flistfs(words: string): number {
    const { program, env } = this.#bench.systems
    return shell(`sh ${program} ${words}`, { ...env, FLISTFS_CACHE: join(this.folder, 'cache') }).ms / 1000
  }

  /** Seconds of a pack of the tree, with more words. It waits for the disk, and shall not wait for what others wrote. */
  pack(words = ''): number {
    shell('sync')
    return this.flistfs(`pack ${this.#bench.fixtures.native} ${this.archive} --store dir://${this.store} ${words}`)
  }

  /** A path in it where nothing is; what was there is elsewhere. */
  fresh(name: string): string {
    const path = join(this.folder, name)
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) renameSync(path, `${path}.${this.#old++}`)
    else rmSync(path, { force: true })
    return path
  }

  close(): void {
    this.#bench.systems.remove(this.folder)
  }
}

function seconds(line: string): number {
  return shell(line).ms / 1000
}

function repetitions({ scale }: Bench): number {
  return Math.min(REPETITIONS_MAX, scale.repetitions)
}

function hasRfs({ systems }: Bench): boolean {
  return systems.peers.some(({ name }) => name === 'rfs')
}

/** The small and the big tree together into a dir store: cold, unchanged, one file changed. */
export const pack: Row = {
  name: 'pack',
  run: (bench): Outcome[] => {
    const { fixtures } = bench
    const { native } = fixtures
    const place = new Place(bench)
    try {
      const failed: Record<string, string> = {}
      const cold = paired(
        repetitions(bench),
        {
          flistfs: () => {
            rmSync(place.archive, { force: true })
            place.fresh('store')
            return place.pack()
          },
          tar: () =>
            seconds(`tar -C ${native} -cf ${place.fresh('tree.tar')} . && rm ${join(place.folder, 'tree.tar')}`),
          ...(which('mkfs.erofs') !== undefined && {
            'mkfs.erofs': () => seconds(`mkfs.erofs --quiet ${place.fresh('tree.erofs')} ${native}`),
          }),
          ...(hasRfs(bench) && { rfs: () => packRfs(place, native) }),
        },
        failed,
      )
      const base = join(place.folder, 'base.fl')
      place.pack()
      copyFileSync(place.archive, base)
      const changing = join(native, 'small', smallFolder(0), 'file-0.dat')
      const again = paired(Math.max(3, repetitions(bench)), {
        'nothing changed': () => place.pack(`--base ${base}`),
        'one file changed': () => withChange(changing, () => place.pack(`--base ${base}`)),
        'find with stat': () => seconds(`find ${native} -printf '%s %m' > /dev/null`),
      })
      return [
        outcome('pack into a dir store', cold, cold['flistfs'], 10, failed),
        outcome('pack with --base', again, again['nothing changed'], 2),
      ]
    } finally {
      place.close()
    }
  },
}

function packRfs(place: Place, native: string): number {
  const store = place.fresh('rfs-store')
  mkdirSync(store)
  return seconds(`rfs pack --meta ${place.fresh('rfs.fl')} --store dir://${store} ${native}`)
}

/** The file is as it was afterwards, but for its time of change. */
function withChange(path: string, work: () => number): number {
  appendFileSync(path, 'x')
  try {
    return work()
  } finally {
    truncateSync(path, 4096)
    utimesSync(path, 1_700_000_000, 1_700_000_000)
  }
}

/** All of the tree as files again, and as a tar. */
export const unpack: Row = {
  name: 'unpack',
  run: (bench): Outcome[] => {
    const { native } = bench.fixtures
    const place = new Place(bench)
    try {
      const tar = join(place.folder, 'tree.tar')
      shell(`tar -C ${native} -cf ${tar} .`)
      place.pack()
      // Makes the index, as any look at the archive does.
      place.flistfs(`inspect ${place.archive} > /dev/null`)
      const medians = paired(repetitions(bench), {
        flistfs: () => onceWritten(() => place.flistfs(`unpack ${place.archive} ${place.fresh('out')}`)),
        'flistfs --tar': () => place.flistfs(`unpack ${place.archive} --tar - > /dev/null`),
        'tar x': () =>
          onceWritten(() => seconds(`mkdir ${place.fresh('out')} && tar -C ${place.folder}/out -xpf ${tar}`)),
      })
      const figure = ratio(medians, 'flistfs', ['tar x'])
      const row = 'unpack from a dir store into a folder'
      return [{ row, unit: 's', medians, figure, figureUnit: 'x', target: undefined }]
    } finally {
      place.close()
    }
  },
}

/** What was written before is on the disk. */
function onceWritten(work: () => number): number {
  dropCaches()
  return work()
}

/**
 * An image of one gzip layer, the small tree: into an archive, against unpacking it and packing the result. umoci takes minutes, so it
 * is asked once.
 */
export const convert: Row = {
  name: 'convert',
  run: (bench): Outcome[] => {
    const place = new Place(bench)
    const image = join(bench.fixtures.work, 'image')
    try {
      if (!existsSync(join(image, 'index.json'))) makeImage(bench, place, image)
      const medians = paired(repetitions(bench), {
        flistfs: () => {
          place.fresh('store')
          return onceWritten(() =>
            place.flistfs(`convert oci:${image}:bench ${place.fresh('image.fl')} --store dir://${place.store}`),
          )
        },
      })
      const hasUmoci = which('umoci') !== undefined
      const all = { ...medians, ...(hasUmoci && unpackAndPack(place, image)) }
      const figure = ratio(all, 'flistfs', ['umoci unpack, then pack'])
      const row = 'convert an image of one layer'
      const note = hasUmoci ? 'umoci ran once' : undefined
      return [{ row, unit: 's', medians: all, figure, figureUnit: 'x', target: undefined, note }]
    } finally {
      place.close()
    }
  },
}

function makeImage(bench: Bench, place: Place, image: string): void {
  bench.say('making image')
  const { smallArchive, store } = bench.fixtures
  rmSync(image, { recursive: true, force: true })
  place.flistfs(`export ${smallArchive} oci:${image}:bench --store dir://${store} --platform linux/amd64`)
}

/** What others do instead: a bundle of the image, which is then packed. */
function unpackAndPack(place: Place, image: string): Record<string, number> {
  const bundle = place.fresh('bundle')
  const unpacked = seconds(`umoci unpack --image ${image}:bench ${bundle}`)
  place.fresh('store')
  const packed = place.flistfs(`pack ${bundle}/rootfs ${place.fresh('image.fl')} --store dir://${place.store}`)
  return { 'umoci unpack, then pack': unpacked + packed, 'umoci unpack': unpacked }
}

function outcome(
  row: string,
  medians: Record<string, number>,
  figure: number | undefined,
  most: number,
  failed: Record<string, string> = {},
): Outcome {
  return { row, unit: 's', medians, figure: figure ?? Number.NaN, figureUnit: 's', target: { most }, failed }
}
