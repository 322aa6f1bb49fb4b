import { LIMITS } from '../base/index.ts'
import type { TarEntry, TarType, TarXattr } from './tar/tar-entry.ts'

/** What a name in an image stands for. */
export interface ImageInode extends Omit<TarEntry, 'name' | 'type' | 'sparse'> {
  type: Exclude<TarType, 'hardlink'>
  /** Where its bytes are: a layer from 0, and an entry of it from 0. */
  layer: number
  entry: number
}

const IMPLIED_MODE = 0o755
/** Linux has no other for symbolic links. */
const LINK_MODE = 0o777
const ID_MAX = 0xffff_ffff
/** The kernel's `dev_t`. */
const MAJOR_MAX = 0xfff
const MINOR_MAX = 0xf_ffff
const NOTHING = Buffer.alloc(0)

/** A folder that no layer has an entry of. */
export function impliedFolder(): ImageInode {
  return {
    type: 'directory',
    mode: IMPLIED_MODE,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
    mtimeNs: 0,
    target: NOTHING,
    major: 0,
    minor: 0,
    xattrs: [],
    layer: -1,
    entry: -1,
  }
}

/** An entry that is no hard link, without its attributes. `no` makes the error. */
export function checkedInode(entry: TarEntry, layer: number, number: number, no: (why: string) => Error): ImageInode {
  const { type, mode, uid, gid, size, mtime, mtimeNs, target, major, minor } = entry
  if (type === 'hardlink') throw new RangeError('Cannot make an inode of a hard link')
  if (!isWithin(uid, ID_MAX) || !isWithin(gid, ID_MAX)) throw no('its owner is out of range')
  const isDevice = type === 'character' || type === 'block'
  if (isDevice && (!isWithin(major, MAJOR_MAX) || !isWithin(minor, MINOR_MAX))) throw no('its device is out of range')
  if (type === 'symlink' && (target.length === 0 || target.length > LIMITS.linkTargetBytesMax || target.includes(0))) {
    throw no(`its target has no bytes, more than ${LIMITS.linkTargetBytesMax}, or a NUL`)
  }
  return {
    type,
    mode: type === 'symlink' ? LINK_MODE : mode,
    uid,
    gid,
    size,
    mtime,
    mtimeNs,
    target: type === 'symlink' ? target : NOTHING,
    major: isDevice ? major : 0,
    minor: isDevice ? minor : 0,
    xattrs: [],
    layer,
    entry: number,
  }
}

function isWithin(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= most
}

const NAMESPACES = ['user.', 'trusted.', 'security.', 'system.'] as const
/** What overlayfs writes for itself. In a layer it says nothing of the image, and an overlay over the mount would believe it. */
const OVERLAY = ['trusted.overlay.', 'user.overlay.'] as const

/** The attributes that Linux can have, by name. */
export function xattrsOf(entry: TarEntry, no: (why: string) => Error): { kept: TarXattr[]; leftOut: number } {
  const kept: TarXattr[] = []
  let listBytes = 0
  for (const xattr of entry.xattrs) {
    const name = xattr.name.toString('latin1')
    const isKnown = NAMESPACES.some((space) => name.startsWith(space) && name.length > space.length)
    if (!isKnown || OVERLAY.some((space) => name.startsWith(space))) continue
    if (xattr.name.length > LIMITS.xattrNameBytesMax || xattr.name.includes(0)) {
      throw no(`the name of an extended attribute has a NUL, or more than ${LIMITS.xattrNameBytesMax} bytes`)
    }
    if (xattr.value.length > LIMITS.xattrValueBytesMax) {
      throw no(`an extended attribute has more than ${LIMITS.xattrValueBytesMax} bytes`)
    }
    listBytes += xattr.name.length + 1
    kept.push(xattr)
  }
  if (listBytes > LIMITS.xattrListBytesMax) throw no('it has too many extended attributes')
  kept.sort((a, b) => a.name.compare(b.name))
  return { kept, leftOut: entry.xattrs.length - kept.length }
}
