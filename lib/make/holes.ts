import { errnoName, LIMITS } from '../base/index.ts'
import { seekData, seekHole } from '../system/index.ts'
import type { FileTask } from './file-task.ts'

/** `[from, to)` of the blocks of a file that lie in holes as a whole. Nothing where the file system does not say. */
export function findHoles(fd: number, size: number): readonly (readonly [number, number])[] {
  const { blockBytesMax } = LIMITS
  const holes: [number, number][] = []
  for (let at = 0; at < size;) {
    let data = seekData(fd, at)
    // The rest is a hole.
    if (data < 0 && errnoName(-data) === 'ENXIO') data = size
    if (data < 0) return []
    const from = Math.ceil(at / blockBytesMax)
    const to = data >= size ? Math.ceil(size / blockBytesMax) : Math.floor(data / blockBytesMax)
    if (to > from) holes.push([from, to])
    if (data >= size) break
    const end = seekHole(fd, data)
    if (end <= data) return holes
    at = end
  }
  return holes
}

/** Whether a block of a file lies in a hole. Holes are in order, and may be as many as blocks: a search, not a walk. */
export function isHole({ holes }: Pick<FileTask, 'holes'>, index: number): boolean {
  let [low, high] = [0, holes.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((holes[middle]?.[0] ?? 0) <= index) low = middle + 1
    else high = middle
  }
  return index < (holes[low - 1]?.[1] ?? 0)
}
