import type { Worker } from 'node:worker_threads'

/** Milliseconds until a thread that should end is ended. */
const CLOSE_MS = 10_000

/**
 * Lets a thread end itself, at the message 'close': one that is ended from outside while it loads a native library takes the
 * process along. `ended` is its exit.
 */
export async function endThread(worker: Worker, ended: Promise<unknown>): Promise<void> {
  worker.ref()
  worker.postMessage('close')
  const late = setTimeout(() => void worker.terminate(), CLOSE_MS)
  await ended
  clearTimeout(late)
}
