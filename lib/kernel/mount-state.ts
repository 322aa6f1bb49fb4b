import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { prepareRuntimeDir, runtimeDir } from './runtime-dir.ts'

/*
 * What a server leaves for its successor, in files beside the mount's record that nobody else can read: `<id>.state`, all
 * it was asked to serve, and `<id>.opens`, the large files that are open. Written by rename; not synced, because a mount
 * does not outlive the machine.
 */

export type StateKind = 'state' | 'opens'

export function saveState(id: string, kind: StateKind, value: unknown): void {
  const path = join(prepareRuntimeDir(), `${id}.${kind}`)
  const temp = `${path}.${process.pid}.tmp`
  const fd = openSync(temp, 'wx', 0o600)
  try {
    writeSync(fd, JSON.stringify(value))
    renameSync(temp, path)
  } catch (error) {
    rmSync(temp, { force: true })
    throw error
  } finally {
    closeSync(fd)
  }
}

/** Undefined where nothing was left, or it cannot be read. */
export function loadState(id: string, kind: StateKind): unknown {
  try {
    return JSON.parse(readFileSync(join(runtimeDir(), `${id}.${kind}`), 'utf8'))
  } catch {
    return undefined
  }
}
