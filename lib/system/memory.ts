import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { keepHeap, trimHeap } from './libc.ts'

let collect: (() => void) | undefined

/**
 * Collects this thread's garbage and gives free pages back to the system. For a moment when nobody waits: it takes about
 * 10 ms. After 1 GiB of blocks a server has 200 MB that are in use no more; left alone, it would keep them for ever.
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

/**
 * From now on memory of blocks that is freed is used again: else each block of 512 KiB is unmapped and faulted in anew, 130 page
 * faults (docs/decisions/090). `giveBackMemory` and `giveBackFreePages` still give it back.
 */
export function keepFreedBlocks(): void {
  keepHeap(4 * 1024 * 1024, 64 * 1024 * 1024)
}

function collector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
