import { resolve } from 'node:path'
import type { LogLevel } from '../base/index.ts'
import { askMount, findMount } from './ask-mount.ts'

/**
 * Changes how much a server logs, while it serves. `isHeard`: somebody may read it; servers before 0.2 do not say. Throws FLIST_NOT_MOUNTED and
 * what asking throws.
 */
export async function setLogLevel(
  directory: string,
  level: LogLevel,
  signal: AbortSignal,
): Promise<{ directory: string; level: string; before: string; isHeard: boolean }> {
  const listing = await findMount(directory)
  const answer = await askMount(listing, { op: 'log-level', level }, signal)
  return { directory: listing.directory, isHeard: true, ...(answer as { level: string; before: string }) }
}

/** Switches the printer of the protocol on, into a file, or off. */
export async function setTrace(
  directory: string,
  file: string | undefined,
  signal: AbortSignal,
): Promise<{ directory: string; trace: string | null }> {
  const listing = await findMount(directory)
  const request = { op: 'trace', file: file === undefined ? null : resolve(file) }
  const answer = await askMount(listing, request, signal)
  return { directory: listing.directory, ...(answer as { trace: string | null }) }
}
