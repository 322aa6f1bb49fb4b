import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isatty } from 'node:tty'
import { FlistError, systemReason } from '../base/index.ts'
import type { PackedImage } from '../make/index.ts'
import { type BlockFormat, parseStoreRoute } from '../store/index.ts'
import { checkTarget } from '../system/index.ts'
import { cacheDirOf } from './cache.ts'
import { readSigningKeys } from './key-files.ts'
import { checkStores } from './open-content.ts'
import type { ArchiveReport } from './open-archive.ts'
import { packing, showProgress } from './progress.ts'

export interface ConvertWords {
  /** `registry/name:tag`, `oci:DIR`, ...: see `lib/oci`. */
  readonly image: string
  readonly archive: string
  readonly format: BlockFormat
  /** `[xx-xx=]URL`. */
  readonly stores: readonly string[]
  readonly keepPassword: boolean
  readonly platform: string | undefined
  readonly startup: boolean
  readonly mirrors: readonly string[]
  readonly plainHttp: readonly string[]
  readonly cacheDir: string | undefined
  readonly threads: number | undefined
  /** Files of private keys that sign the archive. */
  readonly sign?: readonly string[] | undefined
}

export interface ConvertResult extends PackedImage {
  readonly image: string
  /** Of the image's manifest. */
  readonly imageDigest: string
  readonly platform: string
}

/** Folder of the cache in which layers wait to be read. */
const LAYERS = 'layers'

/** Makes an archive of a container image, its blocks into stores. Throws what opening the image and packing it throw. */
export async function convert(words: ConvertWords, report: ArchiveReport, signal: AbortSignal): Promise<ConvertResult> {
  const { image: name, stores, keepPassword, ...rest } = words
  if (stores.length === 0) {
    throw new FlistError('FLIST_USAGE', 'Cannot convert without a store for the blocks', {
      hint: 'Name one or more: --store dir:///srv/blocks',
    })
  }
  checkStores(stores)
  const sign = readSigningKeys(words.sign ?? [])
  await checkFolder(words.archive)
  const image = await fetchImage(name, words, report, signal)
  let done = false
  const isTerminal = isatty(2)
  const reading = showProgress(report.progress, 'Reading layers', isTerminal)
  const writing = showProgress(report.progress, 'Packing', isTerminal, name)
  try {
    const { packImage } = await import('../make/index.ts')
    const made = await packImage(
      {
        ...rest,
        sign,
        image,
        stores: stores.map(parseStoreRoute),
        baseDir: process.cwd(),
        keepSecrets: keepPassword,
        onLayer: (layer) => {
          const bytes = image.layers.map(({ size }) => size)
          reading.onProgress?.(sum(bytes.slice(0, layer)), sum(bytes))
        },
        onProgress: packing(writing),
      },
      signal,
    )
    done = true
    return { ...made, image: name, imageDigest: image.digest, platform: image.platform }
  } finally {
    reading.end()
    writing.end()
    await image.close(done)
  }
}

async function fetchImage(name: string, words: ConvertWords, report: ArchiveReport, signal: AbortSignal) {
  const { imageFile, openImage } = await import('../oci/index.ts')
  checkTarget(words.archive, imageFile(name))
  const progress = showProgress(report.progress, 'Fetching layers', isatty(2))
  const { platform, mirrors, plainHttp, cacheDir } = words
  try {
    const options = {
      platform,
      mirrors,
      plainHttp,
      spoolFolder: join(cacheDirOf(cacheDir), LAYERS),
      warn: (message: string) => report.warn(message),
      onBytes: (bytes: number, total: number) => progress.onProgress?.(bytes, total === 0 ? undefined : total),
    }
    return await openImage(name, options, signal)
  } finally {
    progress.end()
  }
}

/** Said before anything is fetched. */
async function checkFolder(archive: string): Promise<void> {
  await access(dirname(archive), constants.W_OK).catch((cause: unknown) => {
    throw new FlistError('FLIST_SYSTEM', `Cannot write the archive "${archive}": ${systemReason(cause)}`, {
      hint: 'Name a file in a folder that is there and that you may write to',
      cause,
    })
  })
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
