import { LIMITS } from '../base/index.ts'
import { imageDamaged, imageLimit } from './image-error.ts'

/** OCI image-spec `layer.md`, "Whiteouts". */
const WHITEOUT = '.wh.'
const OPAQUE = '.wh..wh..opq'
/** What aufs kept in a layer for itself; programs leave it out. */
const AUFS = '.wh..wh.'

/** The name a whiteout hides, '' for marks; undefined for what is none. */
export function whiteoutOf(name: string): string | undefined {
  if (!name.startsWith(WHITEOUT)) return undefined
  return name.slice(WHITEOUT.length)
}

export function isOpaqueMark(name: string): boolean {
  return name === OPAQUE
}

export function isAufsMark(name: string): boolean {
  return name.startsWith(AUFS) && name !== OPAQUE
}

/** The parts of a name in a layer, a character a byte; none for the root. A leading slash and "." mean nothing. */
export function partsOf(name: Buffer, where: () => string): string[] {
  if (name.includes(0)) throw imageDamaged(where(), 'its name has a NUL')
  const parts = name
    .toString('latin1')
    .split('/')
    .filter((part) => part !== '' && part !== '.')
  if (parts.length > LIMITS.treeDepthMax)
    throw imageLimit(where(), `it lies deeper than ${LIMITS.treeDepthMax} folders`)
  for (const part of parts) {
    if (part === '..') throw imageDamaged(where(), 'its name leads outside ("..")')
    if (part.length > LIMITS.nameBytesMax)
      throw imageDamaged(where(), `a part of its name has more than ${LIMITS.nameBytesMax} bytes`)
  }
  return parts
}
