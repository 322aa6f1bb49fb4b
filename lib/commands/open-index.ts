import { type FlistIndex, openIndex } from '../flist/index.ts'
import type { ServeWords } from '../kernel/index.ts'

/** The index of a mount that stands already. It may have been pruned or damaged meanwhile: it is made again. */
export async function openAgain(words: Omit<ServeWords, 'logLevel'>, signal: AbortSignal): Promise<FlistIndex> {
  try {
    return openIndex(words.indexPath, words.digest)
  } catch {
    const { locateIndex } = await import('../flist/index.ts')
    const { digest, archivePath, cacheDir } = words
    const { indexPath } = await locateIndex(archivePath, { cacheDir, digest }, signal)
    return openIndex(indexPath, digest)
  }
}
