import { constants } from 'node:fs'

/** File types of `st_mode`; `include/uapi/linux/stat.h`. */
export const FILE_TYPE = {
  mask: constants.S_IFMT,
  socket: constants.S_IFSOCK,
  link: constants.S_IFLNK,
  file: constants.S_IFREG,
  block: constants.S_IFBLK,
  directory: constants.S_IFDIR,
  character: constants.S_IFCHR,
  fifo: constants.S_IFIFO,
} as const

export function isKnownType(mode: number): boolean {
  switch (mode & FILE_TYPE.mask) {
    case FILE_TYPE.socket:
    case FILE_TYPE.link:
    case FILE_TYPE.file:
    case FILE_TYPE.block:
    case FILE_TYPE.directory:
    case FILE_TYPE.character:
    case FILE_TYPE.fifo:
      return true
    default:
      return false
  }
}

export function isDevice(mode: number): boolean {
  const type = mode & FILE_TYPE.mask
  return type === FILE_TYPE.block || type === FILE_TYPE.character
}

/**
 * A device number as `stat` gives it (`gnu_dev_makedev`, 64 bits; rfs stores that) in the kernel's 32 bits
 * (`new_encode_dev`: 12 bits of major number, 20 of minor). The two encodings agree in the low 32 bits; the high ones
 * hold what the kernel's form has no room for: undefined.
 */
export function kernelDevice(statDevice: number): number | undefined {
  return Number.isInteger(statDevice) && statDevice >= 0 && statDevice < 2 ** 32 ? statDevice : undefined
}
