import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { keepHeap, trimHeap } from './libc.ts'

let collect: (() => void) | undefined

/**
 * Collects this thread's garbage and gives free pages back to the system. For a moment when nobody waits, or seldom: it takes up to
 * 60 ms. After 1 GiB of blocks a server has 200 MB that are in use no more; left alone, it would keep them for ever.
 */
export function giveBackMemory(): void {
  collect ??= collector()
  collect()
  trimHeap()
}

/** Gives back free pages alone, for a thread that has no rest: 5 ms, and the next blocks fault their pages in again. */
export function giveBackFreePages(): void {
  trimHeap()
}

/** Bytes. Pieces up to this size are not mapped one by one: the block that grows most on its way, with room. */
const PIECE_BYTES_MAX = 4 * 1024 * 1024
/**
 * Bytes that may lie free at the end of one of malloc's heaps. malloc_trim gives back what is free between pieces, but of threads other than
 * the first not what is free at the end, and a heap of theirs has 64 MiB in all: with as much as that none would ever go back
 * (docs/decisions/232).
 */
const KEPT_BYTES_MAX = 8 * 1024 * 1024

/**
 * From now on memory of blocks that is freed is used again: else each block of 512 KiB is unmapped and faulted in anew, 130 page
 * faults (docs/decisions/090). `giveBackMemory` and `giveBackFreePages` still give it back.
 */
export function keepFreedBlocks(): void {
  keepHeap(PIECE_BYTES_MAX, KEPT_BYTES_MAX)
}

/**
 * For threads that work without a rest: objects of the young that they may have, three spaces of 4 MiB. Where most memory lies outside of
 * the heap, V8 collects all for its sake before the young ones' space is full, and that space grows to 128 MiB meanwhile
 * (docs/decisions/250).
 */
export const BUSY_THREAD = { maxYoungGenerationSizeMb: 12 } as const

type Collector = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

function collector(): () => void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as Collector
  // Only this flavour empties V8's pool of free pages too, which is as large as the heap ever was (docs/decisions/232).
  return () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
