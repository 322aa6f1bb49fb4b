import { once } from 'node:events'
import { Worker, type WorkerOptions } from 'node:worker_threads'
import t from 'tap'
import { BUSY_THREAD, giveBackFreePages, giveBackMemory, keepFreedBlocks } from '../../lib/system/index.ts'

const TRIES_MAX = 20

void t.test('giveBackMemory() lets go of buffers that nobody holds, each time it is asked', async (t) => {
  for (const round of [1, 2]) {
    const gone = fill(round)
    for (let tries = 0; tries < TRIES_MAX && gone.some((buffer) => buffer.deref() !== undefined); tries += 1) {
      // Who made a WeakRef or asked one holds its buffer until the turn of the event loop ends; the stack may keep one longer.
      await new Promise((resolve) => setImmediate(resolve))
      giveBackMemory()
    }
    t.equal(gone.filter((buffer) => buffer.deref() !== undefined).length, 0, `round ${round}`)
  }
})

/** Buffers that nobody holds any more. */
function fill(round: number): WeakRef<ArrayBuffer>[] {
  return Array.from({ length: 64 }, () => new WeakRef(Buffer.alloc(512 * 1024, round).buffer))
}

const header = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
const skip = header.header?.glibcVersionRuntime === undefined ? 'this C library has no mallopt' : false

void t.test('keepFreedBlocks() lets a freed block be used again without a page fault', { skip }, (t) => {
  keepFreedBlocks()
  const faults = (): number => process.resourceUsage().minorPageFault
  const block = (): void => void Buffer.alloc(512 * 1024, 1).buffer.transfer(0)
  block()
  const before = faults()
  for (let count = 0; count < 100; count += 1) block()
  const seen = faults() - before
  t.ok(seen < 6400, `${seen} faults for 12,800 pages`)
  t.end()
})

void t.test('giveBackFreePages() gives back blocks that were freed between others', { skip }, (t) => {
  keepFreedBlocks()
  const blockBytes = 512 * 1024
  const resident = (): number => process.memoryUsage.rss()
  const blocks: Buffer<ArrayBuffer>[] = []
  // What stays between them keeps malloc from giving them back by itself.
  const between: Buffer[] = []
  for (let nth = 0; nth < 256; nth += 1) {
    blocks.push(Buffer.alloc(blockBytes, nth))
    between.push(Buffer.alloc(16 * 1024, nth))
  }
  for (const block of blocks) block.buffer.transfer(0)
  const before = resident()
  giveBackFreePages()
  const given = before - resident()
  t.ok(given > 64 * blockBytes, `${given} of ${256 * blockBytes} bytes went back`)
  t.equal(between.length, 256)
  t.end()
})

void t.test('giveBackMemory() gives back what another thread than the first has freed', { skip }, async (t) => {
  const worker = new Worker(new URL('./children/freed-at-the-end.ts', import.meta.url))
  const [{ given, freed }] = (await once(worker, 'message')) as [{ given: number; freed: number }]
  t.ok(given > freed / 2, `${given} of ${freed} bytes went back`)
})

void t.test('giveBackMemory() empties the pool of free pages that V8 keeps', { skip }, async (t) => {
  const worker = new Worker(new URL('./children/heap-that-was-large.ts', import.meta.url))
  const [{ full, left }] = (await once(worker, 'message')) as [{ full: number; left: number }]
  t.ok(left < full / 2, `${left} of ${full} bytes in pages of V8's size are left`)
})

void t.test('BUSY_THREAD bounds the young objects of a thread', async (t) => {
  const url = new URL('./children/young-that-live.ts', import.meta.url)
  const most = async (options: WorkerOptions): Promise<number> =>
    ((await once(new Worker(url, options), 'message')) as [number])[0]
  const [bounded, free] = [await most({ resourceLimits: BUSY_THREAD }), await most({})]
  t.ok(bounded <= 8 * 1024 * 1024, `two spaces of 4 MiB are ${bounded} bytes`)
  t.ok(free > bounded, `without a bound they are ${free} bytes`)
})
