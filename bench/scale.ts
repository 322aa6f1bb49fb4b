/** How large the trees of the benchmark are. */
export interface Scale {
  readonly name: 'full' | 'quick'
  /** Folders of 100 files of 4 KiB. */
  readonly smallFolders: number
  /** Folders of 99 empty files. */
  readonly emptyFolders: number
  readonly bigBytes: number
  /** Folders of 99 files in the archive that nobody has on disk. */
  readonly hugeFolders: number
  /** Bytes of the file that is read over a slow link. */
  readonly linkBytes: number
  readonly repetitions: number
}

const MiB = 1024 * 1024

/** The small tree has 150,000 entries, the huge one 1,000,001 inodes with 1,000,000 blocks. */
export const FULL: Scale = {
  name: 'full',
  smallFolders: 1000,
  emptyFolders: 490,
  bigBytes: 1024 * MiB,
  hugeFolders: 10_000,
  linkBytes: 128 * MiB,
  repetitions: 5,
}

/** To see that every row runs; its numbers say little. */
export const QUICK: Scale = {
  name: 'quick',
  smallFolders: 100,
  emptyFolders: 49,
  bigBytes: 128 * MiB,
  hugeFolders: 1000,
  linkBytes: 32 * MiB,
  repetitions: 1,
}

/** Read by the rows with small files: 10,000 of them. */
export const READ_FOLDERS = 100
export const FILES_PER_FOLDER = 100
export const SMALL_BYTES = 4096
export const EMPTY_PER_FOLDER = 99
