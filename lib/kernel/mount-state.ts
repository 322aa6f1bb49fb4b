import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { replaceFile } from './replace-file.ts'
import { prepareRuntimeDir, runtimeDir } from './runtime-dir.ts'

/*
 * What a server leaves for its successor, in files beside the mount's record that nobody else can read: `<id>.state`, all
 * it was asked to serve, and `<id>.opens`, the large files that are open.
 */

export type StateKind = 'state' | 'opens'

/** Throws FLIST_SYSTEM. */
export function saveState(id: string, kind: StateKind, value: unknown): void {
  replaceFile(join(prepareRuntimeDir(), `${id}.${kind}`), JSON.stringify(value))
}

/** Undefined where nothing was left, or it cannot be read. */
export function loadState(id: string, kind: StateKind): unknown {
  try {
    return JSON.parse(readFileSync(join(runtimeDir(), `${id}.${kind}`), 'utf8'))
  } catch {
    return undefined
  }
}
