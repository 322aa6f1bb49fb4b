import { isUtf8 } from 'node:buffer'
import { loadFuseNative } from '../../../lib/kernel/index.ts'
import type { Differences } from '../../vfs/filesystem-suite.ts'

export const DRIVER = ['--driver', 'fuse-native']

/** Why a test by fuse-native cannot run here, or false. */
export const NO_FUSE_NATIVE: string | false = await loadFuseNative().then(
  () => false as const,
  (error: Error) => error.message,
)

/** What fuse-native's interface cannot express. */
export const DIFFERENCES: Differences = {
  times: ({ mtime, mtimeNs, ctime, ctimeNs }) => {
    if (mtime < 0 || ctime < 0) return 'fuse-native has no times before 1970'
    if (mtimeNs % 1_000_000 !== 0 || ctimeNs % 1_000_000 !== 0) return 'fuse-native has times in milliseconds'
    return undefined
  },
  name: (name) => (isUtf8(name) ? undefined : "fuse-native's names are texts"),
  target: (target) => (isUtf8(target) ? undefined : "fuse-native's targets are texts"),
}

/** Tests of kernelSuite() that it cannot pass. */
export const CANNOT: Readonly<Record<string, string>> = {
  'file handles hold when the kernel forgot everything':
    'fuse-native has no node ids: a handle ends when the kernel forgets the file',
}
