import { existsSync, rmdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FlistError, Log, openAtEnd, systemReason } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import {
  ownHolder,
  passingChangesDir,
  prepareRuntimeDir,
  processNamed,
  type ProcessName,
  type ServeOptions,
  type ServeWords,
  wantsChecks,
} from '../kernel/index.ts'
import { releaseChanges } from '../runtime/index.ts'

/** A mount as plain data: what goes to the server that takes it, and to the one that comes after that. */
export interface MountPlan {
  readonly id: string
  /** ISO 8601. */
  readonly startedAt: string
  readonly words: ServeWords
  /** Where our own file system is mounted: below the overlay of a writable mount. */
  readonly served: string
  /** The kernel checks owners and modes. */
  readonly checked: boolean
  readonly holder: ProcessName | undefined
}

/** Where it stands, once it is mounted. */
export interface MountPlace {
  /** Minor number of our device. */
  readonly connection: number
  /** Of the overlay's; -1 where there is none. */
  readonly overlay: number
}

export function planMount(options: ServeOptions, index: FlistIndex): MountPlan {
  const id = `${process.pid}-${Math.random().toString(36).slice(2, 10)}`
  const { rw, directory, allowOther } = options
  return {
    id,
    startedAt: new Date().toISOString(),
    words: wordsOf(options),
    served: rw === undefined ? directory : join(prepareRuntimeDir(), `lower-${id}`),
    checked: wantsChecks(index.owners, allowOther),
    holder: ownHolder(),
  }
}

/** The options without what belongs to this process alone. */
export function wordsOf({
  onReady: _ready,
  signal: _signal,
  foreground: _foreground,
  ownProcess: _own,
  ...words
}: ServeOptions): ServeWords {
  return words
}

/** Where changes of a writable mount go. */
export function changesOf({ id, words }: MountPlan): string {
  return words.rw?.upper ?? passingChangesDir(words.cacheDir, id)
}

/** Who has the changes: the process that ends with the mount. */
export function ownerOf({ holder }: MountPlan): ProcessName {
  return holder ?? processNamed(process.pid)
}

/** Unmounted, a writable mount leaves what it was told to keep. Idempotent. */
export async function leaveChanges(plan: MountPlan): Promise<void> {
  const { rw } = plan.words
  if (rw === undefined) return
  const changes = changesOf(plan)
  releaseChanges(changes, ownerOf(plan))
  if (rw.upper === undefined) await rm(changes, { recursive: true, force: true })
  // Gone already where all went well. Never recursively: should it still be mounted, what is in there is not ours.
  if (existsSync(plan.served)) rmdirSync(plan.served)
}

/** Throws FLIST_SYSTEM where it cannot be written. */
export function openLog({ logFile, logLevel }: Pick<ServeWords, 'logFile' | 'logLevel'>): Log {
  if (logFile === undefined) return new Log(2, logLevel)
  try {
    return new Log(openAtEnd(logFile, 0o640), logLevel)
  } catch (cause) {
    throw new FlistError('FLIST_SYSTEM', `Cannot write the log "${logFile}": ${systemReason(cause)}`, {
      hint: 'Make its folder, or name another file with --log',
      cause,
    })
  }
}
