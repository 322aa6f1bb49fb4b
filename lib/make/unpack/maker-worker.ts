import { parentPort, workerData } from 'node:worker_threads'
import { describeError, invariant } from '../../base/index.ts'
import { openIndex } from '../../flist/index.ts'
import { type LaneReply, prepareCodec } from '../../store/index.ts'
import { FileMaker, type MakerJob, type MakerResult } from './file-maker.ts'
import type { LocalContent } from './maker-pool.ts'

// One thread of `MakerPool`: files out of blocks.

invariant(parentPort !== null, 'maker-worker.ts runs in a worker thread')
const port = parentPort
const { indexPath, digest, routes } = workerData as LocalContent & { readonly digest: string }
const index = openIndex(indexPath, digest)

function answer(maker: FileMaker, job: MakerJob & { readonly number: number }): LaneReply<MakerResult> {
  const { number } = job
  try {
    return { number, ...maker.run(job) }
  } catch (error) {
    return { number, failure: { code: undefined, message: describeError(error), hint: undefined } }
  }
}

async function main(): Promise<void> {
  await prepareCodec()
  const maker = new FileMaker(index, routes)
  port.on('message', (job: (MakerJob & { readonly number: number }) | 'close') => {
    if (job !== 'close') return port.postMessage(answer(maker, job))
    maker[Symbol.dispose]()
    index.close()
    port.close()
  })
}

void main()
