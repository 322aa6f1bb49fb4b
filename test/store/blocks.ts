import { randomBytes } from 'node:crypto'
import { prepareCodec } from '../../lib/store/codec-tools.ts'
import { encodeBlock } from '../../lib/store/codec.ts'
import type { BlockFormat, BlockRef, BlockSource } from '../../lib/store/port.ts'

/** A block as a mount asks for it, and as a store has it. */
export interface TestBlock {
  readonly ref: BlockRef
  readonly plain: Buffer
  readonly stored: Buffer
}

export async function makeBlock(bytes: number, format: BlockFormat = 'fl'): Promise<TestBlock> {
  await prepareCodec()
  return blockOf(randomBytes(bytes), format)
}

export function blockOf(plain: Buffer, format: BlockFormat = 'fl'): TestBlock {
  const { id, key, stored } = encodeBlock(format, plain)
  return { ref: { format, id, key, plainBytes: plain.length }, plain, stored }
}

/** Blocks in memory that count what they are asked. */
export class CountingSource implements BlockSource {
  readonly name: string
  readonly blocks = new Map<string, Buffer>()
  gets = 0
  disposed = 0
  /** Replaces the answer: throws, waits, or gives other bytes. */
  behave: ((id: Buffer, signal: AbortSignal) => Promise<Buffer | undefined>) | undefined

  constructor(name: string, blocks: readonly TestBlock[] = []) {
    this.name = name
    for (const { ref, stored } of blocks) this.blocks.set(ref.id.toString('hex'), stored)
  }

  async get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
    this.gets += 1
    if (this.behave !== undefined) return this.behave(id, signal)
    return this.blocks.get(id.toString('hex'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed += 1
  }
}

export const NEVER = new AbortController().signal
