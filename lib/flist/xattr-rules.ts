import { LIMITS } from '../base/index.ts'

/** The kernel's namespaces, `xattr(7)`. */
const NAMESPACES = ['user.', 'trusted.', 'security.', 'system.'] as const

/** Why an extended attribute cannot be, or undefined. */
export function checkXattr(name: Uint8Array, value: Uint8Array): string | undefined {
  if (name.length > LIMITS.xattrNameBytesMax) {
    return `the name of an extended attribute has more than ${LIMITS.xattrNameBytesMax} bytes`
  }
  if (value.length > LIMITS.xattrValueBytesMax) {
    return `an extended attribute has more than ${LIMITS.xattrValueBytesMax} bytes`
  }
  const text = Buffer.from(name.buffer, name.byteOffset, name.byteLength).toString('latin1')
  if (name.includes(0)) return 'the name of an extended attribute has a NUL'
  for (const space of NAMESPACES) if (text.startsWith(space) && text.length > space.length) return undefined
  return `an extended attribute is in none of the namespaces ${NAMESPACES.join(' ')}`
}
