/** fuse-native 2.2.6 has no types: this is what we use of it. Results are 0 (bytes where some were asked for) or a negative errno. */
declare module 'fuse-native' {
  export interface Operations {
    getattr: (path: string, done: (result: number, stat?: object) => void) => void
    readdir: (path: string, done: (result: number, names?: string[], stats?: object[]) => void) => void
    readlink: (path: string, done: (result: number, target?: string) => void) => void
    read: (path: string, fd: number, out: Buffer, bytes: number, offset: number, done: (result: number) => void) => void
    statfs: (path: string, done: (result: number, totals?: object) => void) => void
    getxattr?: unknown
    listxattr?: unknown
  }

  /** Ends a request; `memory` is that of the buffer it came with. */
  export type Signal = (result: number, memory: ArrayBufferLike) => void

  class Fuse {
    constructor(directory: string, operations: Operations, options: { timeout: false })
    mount(done: (error: Error | null) => void): void
  }

  export default Fuse
}
