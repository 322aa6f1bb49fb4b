import { chdir } from 'node:process'
import { closeSync, openSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { FlistError } from '../base/index.ts'
import { redirect, setsid } from '../system/index.ts'

/** The launcher that waits for this process to say that it serves; undefined in the foreground. */
export function launcherPid(): number | undefined {
  const pid = Number(process.env['FLISTFS_LAUNCHER'] ?? '')
  return pid > 1 && pid === process.ppid ? pid : undefined
}

/**
 * Lets go of the terminal, the current folder and the pipes of whoever called, then tells the launcher that all is well.
 * Throws FLIST_INTERRUPTED when the launcher is gone: nobody would know of this mount.
 */
export function goToBackground(launcher: number): void {
  setsid()
  chdir('/')
  const nothing = openSync('/dev/null', 'r+')
  for (const fd of [0, 1, 2]) redirect(fd, nothing)
  closeSync(nothing)
  // The parent's number is asked for again: a launcher that was killed left us to another parent, which SIGUSR1 could end.
  if (process.ppid !== launcher) throw new FlistError('FLIST_INTERRUPTED', 'Cannot go on: the launcher is gone')
  process.kill(launcher, 'SIGUSR1')
  // Usually written at exit, which a server that is killed never sees.
  flushCompileCache()
}
