import { join } from 'node:path'
import { readEverything } from '../reading.ts'
import { type Bench, type Outcome, paired, ratio, type Row, type Target } from '../row.ts'
import { dropCaches } from '../shell.ts'
import { type Failures, type Roots, withMounts } from './mounts.ts'

/** 10,000 small files, all of them in the cache. */
export const small: Row = {
  name: 'small',
  run: (bench) =>
    withMounts(
      bench,
      { archive: bench.fixtures.smallArchive, folder: 'small', filled: 'small', peers: true },
      (roots, _, failed) => [
        outcome(bench, roots, failed, 'small', '10,000 small files, kernel caches dropped', true, { most: 0.7 }),
        outcome(bench, roots, failed, 'small', '10,000 small files, warm', false, { most: 1.1 }),
      ],
    ),
}

/** One large file, all of it in the cache; also with the kernel reading the cache's file by itself. */
export const big: Row = {
  name: 'big',
  run: async (bench) => {
    const wanted = { archive: bench.fixtures.bigArchive, folder: 'big', filled: 'big' } as const
    const plain = await withMounts(bench, { ...wanted, peers: true }, (roots, _, failed) => [
      outcome(bench, roots, failed, 'big', 'large file, kernel caches dropped', true, { most: 1.3 }),
      outcome(bench, roots, failed, 'big', 'large file, again', false, { most: 2.2 }),
    ])
    const passed = await withMounts(bench, { ...wanted, words: ['--passthrough'] }, (roots, _, failed) => [
      outcome(bench, roots, failed, 'big', 'large file with --passthrough, kernel caches dropped', true, { most: 1.1 }),
      outcome(bench, roots, failed, 'big', 'large file with --passthrough, again', false, { most: 1.1 }),
    ])
    return [...plain, ...passed]
  },
}

function outcome(
  bench: Bench,
  roots: Roots,
  failed: Failures,
  what: 'small' | 'big',
  row: string,
  cold: boolean,
  target: Target,
): Outcome {
  const measure = (root: string) => (): number => {
    if (cold) dropCaches()
    else readEverything(root, what)
    return readEverything(root, what)
  }
  const medians = paired(
    bench.scale.repetitions,
    Object.fromEntries(Object.entries(roots).map(([name, root]) => [name, measure(root)])),
    failed,
  )
  return { row, unit: 's', medians, figure: ratio(medians, 'flistfs', ['ext4']), figureUnit: 'x', target, failed }
}

/** Everything from a folder of blocks on the same disk, through a cache that is empty. */
export const fetch: Row = {
  name: 'fetch',
  run: (bench) => [
    fetched(bench, 'big', bench.fixtures.bigArchive, 'large file from a dir store, cache empty', { most: 2.5 }),
    fetched(bench, 'small', bench.fixtures.smallArchive, '10,000 small files from a dir store, cache empty', {
      most: 1,
    }),
  ],
}

function fetched(bench: Bench, what: 'small' | 'big', archive: string, row: string, target: Target): Outcome {
  const { systems, fixtures } = bench
  const measure = (): number => {
    const cache = systems.emptyCache(archive)
    const mounted = systems.mountFlistfs({ archive, store: `dir://${fixtures.store}`, cache })
    try {
      return readEverything(mounted.directory, what)
    } finally {
      mounted.close()
      systems.remove(cache)
    }
  }
  const native = (): number => readEverything(join(fixtures.native, what), what)
  const peers = systems.peers.map((peer) => {
    const byPeer = (): number => {
      const cache = systems.scratch(`cache-${peer.name}`)
      try {
        const mounted = systems.mountPeer(peer, what, cache)
        try {
          return readEverything(mounted.directory, what)
        } finally {
          mounted.close()
        }
      } finally {
        systems.remove(cache)
      }
    }
    return [peer.name, byPeer] as const
  })
  const failed: Failures = {}
  const all = { flistfs: measure, ext4: native, ...Object.fromEntries(peers) }
  const medians = paired(bench.scale.repetitions, all, failed)
  return { row, unit: 's', medians, figure: medians['flistfs'] ?? Number.NaN, figureUnit: 's', target, failed }
}
