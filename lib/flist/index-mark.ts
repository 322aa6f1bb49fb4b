import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'

/**
 * Reading a whole index to check it takes 0.1 s for a million inodes. So once checked, a mark beside the index says so,
 * and holds until the machine boots again (then the disk may have lost what the page cache held) or the file changes.
 */
export function isIndexMarked(indexPath: string, stat: BigIntStats): boolean {
  try {
    return readFileSync(markPath(indexPath), 'latin1') === markText(stat)
  } catch {
    return false
  }
}

/** Says that the index is as its checksum says. Failing is no harm: the next one checks again. */
export function writeIndexMark(indexPath: string, stat?: BigIntStats): void {
  const path = markPath(indexPath)
  const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`
  try {
    writeFileSync(temporary, markText(stat ?? statSync(indexPath, { bigint: true })), { flag: 'wx' })
    renameSync(temporary, path)
  } catch {
    rmSync(temporary, { force: true })
  }
}

function markPath(indexPath: string): string {
  return `${indexPath}.ok`
}

function markText(stat: BigIntStats): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  return `${boot} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}\n`
}
