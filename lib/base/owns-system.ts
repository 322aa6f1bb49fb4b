import { statSync } from 'node:fs'

/**
 * True for the root that the system's own folders (/run, /var) belong to. Root of a user namespace that a user made for
 * himself is not: he sees them as nobody's, and keeps his files where he did before.
 */
export function ownsSystem(): boolean {
  if (process.geteuid?.() !== 0) return false
  try {
    return statSync('/').uid === 0
  } catch {
    return true
  }
}
