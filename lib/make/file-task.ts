import type { OpenFolder } from './open-folder.ts'

/** A file whose blocks are being made. */
export interface FileTask {
  readonly folder: OpenFolder
  /** With a NUL at its end. */
  readonly name: Buffer
  /** A symbolic link may be followed. */
  readonly follow: boolean
  size: number
  /** What the file was when it was looked at. */
  stamp: Buffer
  /** `[from, to)` of pieces that are holes: no byte of them need be read. */
  holes: readonly (readonly [number, number])[]
  /** Called once, when all is known. */
  done(outcome: FileOutcome): void
}

/**
 * `refs` has id and key of each block. A file that `changed` has the bytes that were read last. Without `hasXattrs` it is known
 * to have no extended attributes.
 */
export type FileOutcome =
  | {
      readonly state: 'stored'
      readonly refs: Buffer
      readonly bytes: number
      readonly changed: boolean
      readonly hasXattrs: boolean
    }
  | { readonly state: 'failed'; readonly errno: number }
