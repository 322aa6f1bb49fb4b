import { FlistError } from '../base/index.ts'

export interface Platform {
  readonly os: string
  readonly architecture: string
  /** '' where none is meant. */
  readonly variant: string
}

/** Node's names of processors and Go's, which images use. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  arm: 'arm',
  arm64: 'arm64',
  ppc64: 'ppc64le',
  riscv64: 'riscv64',
  s390x: 's390x',
  loong64: 'loong64',
}
/** Other names that people write. */
const ALIASES: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  aarch64: 'arm64',
  i386: '386',
  armhf: 'arm/v7',
  armel: 'arm/v6',
}

/** `linux/arm64/v8`, `arm64`, or what this machine is. Throws FLIST_USAGE. */
export function parsePlatform(text: string | undefined): Platform {
  if (text === undefined) {
    return { os: 'linux', architecture: ARCHITECTURES[process.arch] ?? process.arch, variant: '' }
  }
  const words = text.toLowerCase().split('/')
  if (words.length === 1) words.unshift('linux')
  const [os = '', architecture = '', variant] = words
  const alias = Object.hasOwn(ALIASES, architecture) ? ALIASES[architecture] : undefined
  const [known = '', implied = ''] = (alias ?? architecture).split('/')
  if (words.length > 3 || os === '' || known === '' || variant === '') {
    throw new FlistError('FLIST_USAGE', `Cannot use "${text}" as a platform`, {
      hint: 'Write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT: linux/arm64, linux/arm/v7',
    })
  }
  return { os, architecture: known, variant: variant ?? implied }
}

export function platformText({ os, architecture, variant }: Partial<Platform>): string {
  return [os, architecture, variant].filter((word) => word !== undefined && word !== '').join('/')
}

/**
 * How well an image suits: 0 not at all, more is better. Without a variant asked for, any will do, the plain one first; arm runs what
 * older variants need.
 */
export function suits(wanted: Platform, offered: Partial<Platform>): number {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return 0
  const variant = offered.variant ?? ''
  const asked = wanted.variant
  if (variant === asked) return 100
  if (wanted.architecture === 'arm64' && [variant, asked].every((word) => word === '' || word === 'v8')) return 99
  if (asked === '') return 50 + versionOf(variant)
  if (wanted.architecture !== 'arm') return 0
  return versionOf(variant) < versionOf(asked) ? 10 + versionOf(variant) : 0
}

function versionOf(variant: string): number {
  return Number(/^v(\d)/.exec(variant)?.[1] ?? 0)
}
