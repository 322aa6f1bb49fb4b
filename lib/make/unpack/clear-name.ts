import { unlinkAt } from '../../system/index.ts'

/** Takes away what is under a name, but no folder with something in it. */
export function clearName(dir: number, name: Buffer): boolean {
  return unlinkAt(dir, name) === 0 || unlinkAt(dir, name, true) === 0
}
