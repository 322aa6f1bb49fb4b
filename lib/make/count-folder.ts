import { constants } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { closeFd, FileStat, namesIn, OPEN_FOLDER, openAt } from '../system/index.ts'
import type { WalkOptions } from './walk-folder.ts'

const ENTRIES_PER_TURN = 512
const SLASH = Buffer.from('/')
const HERE = Buffer.from('.\0')

/**
 * Bytes of the files below the folder `fd`, as a walk will meet them: for a line that says how far it is, so what cannot be read
 * counts nothing. Goes on beside other work; undefined where it was cut short.
 */
export async function countFolder(
  fd: number,
  { excludes, oneFileSystem = false, follow = false }: Pick<WalkOptions, 'excludes' | 'oneFileSystem' | 'follow'>,
  signal: AbortSignal,
): Promise<number | undefined> {
  const stat = new FileStat()
  // Links may lead in circles.
  if (follow || stat.of(fd) < 0) return undefined
  const rootSystem = stat.system
  const linked = new Set<string>()
  /** Paths below the root, with a NUL at the end. */
  const folders = [HERE]
  let bytes = 0
  let turn = 0
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const dir = openAt(fd, folder, OPEN_FOLDER)
    if (dir < 0) continue
    try {
      const names = namesIn(dir)
      if (typeof names === 'number') continue
      for (const name of names) {
        turn += 1
        if (turn % ENTRIES_PER_TURN === 0) {
          await nextTurn()
          if (signal.aborted) return undefined
        }
        const path = folder === HERE ? name : Buffer.concat([folder.subarray(0, -1), SLASH, name])
        if (excludes?.(path.subarray(0, -1)) === true || stat.at(dir, name) < 0) continue
        const type = stat.mode & constants.S_IFMT
        if (type === constants.S_IFDIR && !(oneFileSystem && stat.system !== rootSystem))
          folders.push(Buffer.from(path))
        if (type !== constants.S_IFREG || (stat.nlink > 1 && isKnown(linked, stat))) continue
        bytes += stat.size
      }
    } finally {
      closeFd(dir)
    }
  }
  return bytes
}

function isKnown(linked: Set<string>, { system, ino }: FileStat): boolean {
  const key = `${system}.${ino}`
  const known = linked.has(key)
  linked.add(key)
  return known
}
