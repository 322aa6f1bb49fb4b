import { chdir } from 'node:process'
import { closeSync, openSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { FlistError } from '../base/index.ts'
import { supervisor } from '../kernel/index.ts'
import { redirect } from '../system/index.ts'

/** True where a launcher waits to hear that this process serves: the mount goes to the background then. */
export function isAwaited(): boolean {
  return supervisor() !== undefined && Boolean(process.env['FLISTFS_LAUNCHER'])
}

/** Lets go of the terminal, the current folder and the pipes of whoever called. */
export function leaveTerminal(): void {
  chdir('/')
  const nothing = openSync('/dev/null', 'r+')
  for (const fd of [0, 1, 2]) redirect(fd, nothing)
  closeSync(nothing)
}

/**
 * Tells the supervisor that this process serves: from now on it is brought back when it dies. Throws FLIST_INTERRUPTED when
 * the supervisor is gone: nobody would know of this mount.
 */
export function tellSupervisor(parent: number): void {
  // The number is asked for again: a supervisor that was killed left us to another parent, which SIGUSR1 could end.
  if (process.ppid !== parent) throw new FlistError('FLIST_INTERRUPTED', 'Cannot go on: the supervisor is gone')
  process.kill(parent, 'SIGUSR1')
  // Usually written at exit, which a server that is killed never sees.
  flushCompileCache()
}
