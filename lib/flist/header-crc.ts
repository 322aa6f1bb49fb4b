const REVERSED_POLYNOMIAL = 0xedb8_8320

/** What four bits do to the sum. */
const STEPS = Uint32Array.from({ length: 16 }, (_, bits) => {
  let sum = bits
  for (let at = 0; at < 4; at += 1) sum = (sum >>> 1) ^ (sum & 1 ? REVERSED_POLYNOMIAL : 0)
  return sum
})

/**
 * CRC-32 as zlib has it, for the few bytes of a header: a mount needs zlib for nothing else, and Node loads 2 ms of modules
 * for it.
 */
export function headerCrc(bytes: Uint8Array): number {
  let sum = 0xffff_ffff
  for (const byte of bytes) {
    sum ^= byte
    sum = (sum >>> 4) ^ (STEPS[sum & 15] ?? 0)
    sum = (sum >>> 4) ^ (STEPS[sum & 15] ?? 0)
  }
  return ~sum >>> 0
}
