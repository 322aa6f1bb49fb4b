import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { threadUrl } from '../base/index.ts'
import { type FlistIndex, indexPathOf, openIndex } from '../flist/index.ts'
import type { ServeWords } from '../kernel/index.ts'
import type { CompileThreadData } from './compile-thread.ts'

/**
 * The index of a mount that stands already. It may have been pruned or damaged meanwhile: it is made again, in a thread of its
 * own. Throws what compiling throws.
 */
export async function openAgain(words: Omit<ServeWords, 'logLevel'>): Promise<FlistIndex> {
  const { archivePath, cacheDir, digest } = words
  try {
    return openIndex(words.indexPath, digest)
  } catch {
    const data: CompileThreadData = { archivePath, cacheDir, digest }
    const ending = once(new Worker(threadUrl('compile-thread', import.meta.url), { workerData: data }), 'exit')
    await ending
    return openIndex(indexPathOf(cacheDir, digest), digest)
  }
}
