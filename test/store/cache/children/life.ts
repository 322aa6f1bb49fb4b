import { blocks, MiB } from '../helpers.ts'
import type { TestBlock } from '../helpers.ts'

/** Bytes of the large file. */
export const LARGE = MiB + 4096
/** A cache that is a little too small for what a life fetches. */
export const LIFE = { bytesMax: 5 * MiB, ownSegmentBytesMin: MiB }

export async function lifeBlocks(): Promise<{ small: TestBlock[]; large: TestBlock[]; keys: Buffer }> {
  const small = await blocks('life', 14, 320 * 1024)
  const large = [...(await blocks('large', 2, 524_288)), ...(await blocks('end', 1, 4096))]
  return { small, large, keys: Buffer.concat(large.map(({ ref }) => ref.key)) }
}
