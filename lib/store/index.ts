export type { BlockFormat, BlockReader, BlockRef, BlockSource } from './port.ts'
