import { join } from 'node:path'
import { isatty } from 'node:tty'
import { FlistError, type Log, systemReason } from '../base/index.ts'
import { FILE_TYPE, type FlistIndex } from '../flist/index.ts'
import { archiveTar, CONFIG_TAG, STARTUP, startCommand, startupToml } from '../make/index.ts'
import { checkDestination, imageFile, putImage } from '../oci/index.ts'
import { checkTarget } from '../system/index.ts'
import { fileBytes } from './cat.ts'
import { type ArchiveReport, type ArchiveWords, openArchive } from './open-archive.ts'
import { type ContentWords, openContent, type OpenedContent } from './open-content.ts'
import { showProgress } from './progress.ts'

export interface ExportWords extends ArchiveWords, ContentWords {
  /** `oci:DIR[:TAG]`, `oci-archive:FILE`, `docker-archive:FILE[:NAME]`, `REGISTRY/NAME:TAG`. */
  readonly image: string
  /** Of an archive that was not made of an image. */
  readonly platform: string | undefined
  readonly plainHttp: readonly string[]
}

export interface ExportResult {
  readonly archive: string
  readonly digest: string
  readonly image: string
  /** Of the image's manifest. */
  readonly imageDigest: string
  readonly entries: number
  /** Of the one layer, compressed. */
  readonly layerBytes: number
  readonly leftOut: readonly { readonly path: string; readonly why: string }[]
}

/** Makes a container image of an archive. Throws what opening the archive, reading its blocks and writing the image throw. */
export async function exportImage(
  words: ExportWords,
  report: ArchiveReport,
  log: Log,
  signal: AbortSignal,
): Promise<ExportResult> {
  const { image, platform, plainHttp } = words
  checkDestination(image)
  using archive = await openArchive(words, report, signal)
  const { index, name } = archive
  checkFile(imageFile(image), archive.path)
  await using content = await openContent(archive, words, log)
  const config = index.tags[CONFIG_TAG]
  const leftOut: { path: string; why: string }[] = []
  let entries = 0
  let bytes = 0
  const isTerminal = isatty(2)
  const packing = showProgress(report.progress, 'Exporting', isTerminal, name)
  const sending = showProgress(report.progress, 'Sending the image', isTerminal)
  const counted = async function* (row: number): AsyncGenerator<Buffer> {
    for await (const piece of fileBytes(index, row, content, signal)) {
      packing.onProgress?.((bytes += piece.length), index.contentBytes, entries)
      yield piece
    }
  }
  try {
    const tar = archiveTar(index, {
      content: counted,
      isLayer: true,
      without: (await isMadeStartup(index, config, content, signal)) ? STARTUP : undefined,
      onLeftOut: (path, why) => leftOut.push({ path, why }),
      onEntry: () => (entries += 1),
    })
    const spoolFolder = join(archive.cacheDir, 'layers')
    const onBytes = (sent: number, total: number): void => sending.onProgress?.(sent, total)
    const put = await putImage(image, { tar, config, platform, spoolFolder, mirrors: [], plainHttp, onBytes }, signal)
    return { archive: name, digest: index.digest, image, ...put, entries, leftOut }
  } finally {
    packing.end()
    sending.end()
  }
}

/** Said before all of the archive is read. */
function checkFile(file: string | undefined, source: string): void {
  try {
    if (file !== undefined) checkTarget(file, source)
  } catch (cause) {
    if (cause instanceof FlistError) throw cause
    throw new FlistError('FLIST_SYSTEM', `Cannot write the image "${file}": ${systemReason(cause)}`, {
      hint: 'Name a file in a folder that is there and that you may write to',
      cause,
    })
  }
}

/** True where `/.startup.toml` says what the configuration says: then it is ours, and made again when the image is converted. */
async function isMadeStartup(
  index: FlistIndex,
  config: string | undefined,
  content: OpenedContent,
  signal: AbortSignal,
): Promise<boolean> {
  const command = config === undefined ? undefined : startCommand(Buffer.from(config))
  const row = index.find(0, Buffer.from(STARTUP), 0, STARTUP.length)
  if (command === undefined || row < 0 || ((index.mode[row] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.file) return false
  const made = Buffer.from(startupToml(command))
  if (index.size[row] !== made.length) return false
  const pieces: Buffer[] = []
  for await (const piece of fileBytes(index, index.leader[row] ?? row, content, signal)) pieces.push(piece)
  return Buffer.concat(pieces).equals(made)
}
