import { parseMirror, parsePlatform } from '../oci/index.ts'
import { checkHub, parseStoreRoute } from '../store/index.ts'
import { timeOf } from './pack-values.ts'

/*
 * What becomes of the text of an option where the verb runs, for settings: they are read by many verbs, and what is wrong in them
 * is said by the first. Each throws FLIST_USAGE.
 */

export { parseMetricsAddress } from './metrics-address.ts'
export { checkHub, parseMirror, parsePlatform }

/** `[xx-xx=]URL`. */
export function checkStore(text: string): void {
  parseStoreRoute(text)
}

/** A time of its own; a file that has one may come later. */
export function checkTime(text: string): void {
  if (!/^[./]/.test(text)) timeOf(text)
}
