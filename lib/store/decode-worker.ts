import { parentPort } from 'node:worker_threads'
import { describeError, FlistError, invariant } from '../base/index.ts'
import { prepareCodec } from './codec-tools.ts'
import { decodeBlock } from './codec.ts'
import type { DecodeJob, DecodeReply } from './decode-pool.ts'

// One thread of `DecodePool`: blocks in, plain bytes or a coded error out.

invariant(parentPort !== null, 'decode-worker.ts runs in a worker thread')
const port = parentPort

function answer(job: DecodeJob): void {
  const { number } = job
  try {
    const plain = decodeBlock(
      { ...job, id: Buffer.from(job.id), key: Buffer.from(job.key) },
      Buffer.from(job.stored.buffer, job.stored.byteOffset, job.stored.length),
    )
    // A small result may be part of Node's shared pool, which must not leave this thread.
    const own = plain.byteLength === plain.buffer.byteLength ? plain : new Uint8Array(plain)
    port.postMessage({ number, plain: own } satisfies DecodeReply, [own.buffer as ArrayBuffer])
  } catch (error) {
    const failure =
      error instanceof FlistError
        ? { ...error.toJSON() }
        : { code: undefined, message: describeError(error), hint: undefined }
    port.postMessage({ number, failure } satisfies DecodeReply)
  }
}

async function main(): Promise<void> {
  await prepareCodec()
  port.on('message', (job: DecodeJob | 'close') => {
    if (job === 'close') port.close()
    else answer(job)
  })
  port.postMessage('ready')
}

void main()
