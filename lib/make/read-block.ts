import { errno, pread } from '../system/index.ts'

/** Bytes of a file, fewer only at its end; or an errno. */
export function readBlock(fd: number, offset: number, bytes: number): Buffer | number {
  const block = Buffer.allocUnsafe(bytes)
  let done = 0
  while (done < bytes) {
    const got = pread(fd, block.subarray(done), bytes - done, offset + done)
    if (got < 0) return errno()
    if (got === 0) break
    done += got
  }
  return block.subarray(0, done)
}
