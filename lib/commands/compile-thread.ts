import { workerData } from 'node:worker_threads'
import { LIMITS } from '../base/index.ts'
import { locateIndex } from '../flist/index.ts'

/** What to compile. */
export interface CompileThreadData {
  readonly archivePath: string
  readonly cacheDir: string
  readonly digest: string
}

/** Compiles an archive beside a thread that serves others. */
const { archivePath, cacheDir, digest } = workerData as CompileThreadData
// What it throws ends the thread. No `await` out here: what is published is CommonJS.
void locateIndex(archivePath, { cacheDir, digest }, AbortSignal.timeout(LIMITS.compileWaitMs))
