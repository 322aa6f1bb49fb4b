import { smallFolder } from './fixtures.ts'
import { READ_FOLDERS } from './scale.ts'
import { shell } from './shell.ts'

/** Seconds to read 10,000 files of 4 KiB. A pipe, because tar does not read what goes to /dev/null. */
export function readSmall(root: string): number {
  const folders = Array.from({ length: READ_FOLDERS }, (_, nth) => smallFolder(nth)).join(' ')
  return shell(`tar -C ${root} -cf - ${folders} | cat > /dev/null`).ms / 1000
}

/** Seconds to read the big file from its start to its end. */
export function readBig(root: string): number {
  return shell(`cat ${root}/big.bin > /dev/null`).ms / 1000
}

export function readEverything(root: string, folder: 'small' | 'big'): number {
  return folder === 'small' ? readSmall(root) : readBig(root)
}
