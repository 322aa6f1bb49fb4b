import { codecTools } from '../codec-tools.ts'

/** True when `key` is the hash of the plain bytes: BLAKE2b-256 in fl (32 bytes), BLAKE2b-128 in v1. `prepareCodec()` first. */
export function matchesKey(key: Buffer, bytes: Uint8Array): boolean {
  const tools = codecTools()
  return key.equals(key.length === 16 ? tools.blake2b128(bytes) : tools.blake2b256(bytes))
}
