import { FILE_TYPE, isDevice } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'

/** Names of file types, as JSON and people have them. */
const TYPE_NAMES: Readonly<Record<number, string>> = {
  [FILE_TYPE.file]: 'file',
  [FILE_TYPE.directory]: 'directory',
  [FILE_TYPE.link]: 'link',
  [FILE_TYPE.character]: 'character device',
  [FILE_TYPE.block]: 'block device',
  [FILE_TYPE.fifo]: 'fifo',
  [FILE_TYPE.socket]: 'socket',
}
const TYPE_LETTERS: Readonly<Record<number, string>> = {
  [FILE_TYPE.file]: '-',
  [FILE_TYPE.directory]: 'd',
  [FILE_TYPE.link]: 'l',
  [FILE_TYPE.character]: 'c',
  [FILE_TYPE.block]: 'b',
  [FILE_TYPE.fifo]: 'p',
  [FILE_TYPE.socket]: 's',
}

/** Attributes of one row, as stat(2) on a mount of the archive would have them. Sizes in bytes, times in seconds of Unix time. */
export interface RowStat {
  readonly row: number
  readonly ino: number
  /** Full st_mode. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  readonly size: number
  readonly mtime: number
  readonly mtimeNs: number
  readonly ctime: number
  readonly ctimeNs: number
  /** Of a device: the kernel's 32 bits. */
  readonly rdev: number
  /** Of a link: a view. */
  readonly target: Buffer | undefined
}

export function rowStat(index: FlistIndex, row: number): RowStat {
  const leader = index.leader[row] ?? row
  const mode = index.mode[leader] ?? 0
  const at = 2 * (index.owner[leader] ?? 0)
  const first = index.first[leader] ?? 0
  return {
    row,
    ino: leader + 1,
    mode,
    uid: index.owners[at] ?? 0,
    gid: index.owners[at + 1] ?? 0,
    nlink: index.nlink[leader] ?? 1,
    size: index.size[leader] ?? 0,
    mtime: seconds(index.mtime, leader),
    mtimeNs: index.mtimeNs?.[leader] ?? 0,
    ctime: seconds(index.ctime, leader),
    ctimeNs: index.ctimeNs?.[leader] ?? 0,
    rdev: isDevice(mode) ? first : 0,
    target: targetOf(index, leader),
  }
}

/** A link's target as it stands in the archive: a view. Undefined for what is no link. */
export function targetOf(index: FlistIndex, row: number): Buffer | undefined {
  if (((index.mode[row] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.link) return undefined
  const first = index.first[row] ?? 0
  return index.names.subarray(first, first + (index.count[row] ?? 0))
}

function seconds(column: Int32Array, row: number): number {
  return ((column[2 * row] ?? 0) >>> 0) + (column[2 * row + 1] ?? 0) * 2 ** 32
}

export function typeName(mode: number): string {
  return TYPE_NAMES[mode & FILE_TYPE.mask] ?? 'unknown'
}

export function typeLetter(mode: number): string {
  return TYPE_LETTERS[mode & FILE_TYPE.mask] ?? '?'
}

/** Bits of a device number, `new_decode_dev` of the kernel. */
export function majorOf(rdev: number): number {
  return (rdev & 0xfff00) >>> 8
}

export function minorOf(rdev: number): number {
  return (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)
}

/** `drwxr-sr-t`, as ls(1) writes a mode. */
export function modeText(mode: number): string {
  const bit = (mask: number, letter: string): string => ((mode & mask) === 0 ? '-' : letter)
  const execute = (mask: number, special: number, letters: string): string => {
    const both = ((mode & mask) === 0 ? 0 : 1) + ((mode & special) === 0 ? 0 : 2)
    return letters.charAt(both)
  }
  return (
    typeLetter(mode) +
    bit(0o400, 'r') +
    bit(0o200, 'w') +
    execute(0o100, 0o4000, '-xSs') +
    bit(0o40, 'r') +
    bit(0o20, 'w') +
    execute(0o10, 0o2000, '-xSs') +
    bit(0o4, 'r') +
    bit(0o2, 'w') +
    execute(0o1, 0o1000, '-xTt')
  )
}
