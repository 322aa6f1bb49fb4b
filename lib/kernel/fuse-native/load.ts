import { describeError, FlistError, systemCode } from '../../base/index.ts'
import type { MountWords } from '../device.ts'
import type { FuseNativeMount, FuseNativeParts } from './mount.ts'

/** Makes a mount that is not mounted yet. */
export type FuseNative = (words: MountWords, parts: FuseNativeParts) => FuseNativeMount

/** The driver, which nobody pays for who does not ask for it. Throws FLIST_MOUNT_FAILED, with what to install. */
export async function loadFuseNative(): Promise<FuseNative> {
  const Fuse = await loadPackage()
  const { FuseNativeMount } = await import('./mount.ts')
  return (words, parts) => new FuseNativeMount(Fuse, words, parts)
}

async function loadPackage(): Promise<typeof import('fuse-native').default> {
  try {
    const { default: Fuse } = await import('fuse-native')
    return Fuse
  } catch (cause) {
    const [why, hint] = explain(cause)
    throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount by fuse-native: ${why}`, {
      hint: `${hint}, or leave --driver out: our own driver needs neither`,
      cause,
    })
  }
}

function explain(error: unknown): [why: string, hint: string] {
  const code = systemCode(error)
  const text = describeError(error).split('\n')[0] ?? ''
  if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') {
    return ['the package is not installed', 'Install it beside flistfs: npm install fuse-native@2.2.6']
  }
  if (text.includes('libfuse.so.2')) {
    return [
      `libfuse 2 cannot be loaded (${text})`,
      'Install it (Debian: libfuse2, newer ones libfuse2t64; Fedora: fuse-libs)',
    ]
  }
  return [`it does not load (${text})`, 'Install it where it runs: x86-64 with glibc and libfuse 2']
}
