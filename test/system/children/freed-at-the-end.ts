/* A thread that frees blocks which nothing lies behind, as a fetch thread does after a busy moment. Tells what went back. */
import { parentPort } from 'node:worker_threads'
import { giveBackMemory, keepFreedBlocks } from '../../../lib/system/index.ts'

/** Together they fit into one heap of malloc, 64 MiB. */
const BLOCKS = 96
const BLOCK_BYTES = 512 * 1024

keepFreedBlocks()
const resident = (): number => process.memoryUsage.rss()
const blocks = Array.from({ length: BLOCKS }, (_, nth) => Buffer.alloc(BLOCK_BYTES, nth))
const full = resident()
for (const block of blocks) block.buffer.transfer(0)
giveBackMemory()
parentPort?.postMessage({ given: full - resident(), freed: BLOCKS * BLOCK_BYTES })
