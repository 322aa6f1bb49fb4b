/** Content that is the same in every run: half of each block does not compress, the other half does. */
export function fillBlock(block: Buffer, seed: number): Buffer {
  const half = block.length >>> 1
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) | 1
  let at = 0
  for (; at + 4 <= half; at += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    block.writeInt32LE(state, at)
  }
  const text = `line ${seed} of a file that a packer can shrink\n`
  block.fill(text, at)
  return block
}

/** Bytes that stand for a hash: nobody reads the block. */
export function fakeHash(bytes: number, seed: number, salt: number): Buffer {
  const hash = fillBlock(Buffer.alloc(2 * bytes), Math.imul(seed, 2) + salt).subarray(0, bytes)
  // The number itself makes it unique.
  hash.writeUInt32LE(seed, bytes - 4)
  hash.writeUInt32LE(salt, bytes - 8)
  return hash
}
