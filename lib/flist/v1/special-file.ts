import { FILE_TYPE } from '../file-type.ts'
import { MessageError } from './capnp.ts'
import { SPECIAL_TYPE } from './layout.ts'

const TYPE_BITS: ReadonlyMap<number, number> = new Map([
  [SPECIAL_TYPE.block, FILE_TYPE.block],
  [SPECIAL_TYPE.character, FILE_TYPE.character],
  [SPECIAL_TYPE.fifo, FILE_TYPE.fifo],
])
const SPECIAL_BITS: ReadonlySet<number> = new Set([
  FILE_TYPE.block,
  FILE_TYPE.character,
  FILE_TYPE.fifo,
  FILE_TYPE.socket,
])

/**
 * The `st_mode` type bits of a special file. zflist writes type 0 (socket) for all of them, so what else is known goes first: the type
 * bits of an old ACI, then a type other than 0, then "major,minor" in `data`, which only devices have. See `docs/decisions/011-v1-special-files.md`.
 */
export function specialType(type: number, data: string, aciMode: number): number {
  if (SPECIAL_BITS.has(aciMode & FILE_TYPE.mask)) return aciMode & FILE_TYPE.mask
  const known = TYPE_BITS.get(type)
  if (known !== undefined) return known
  return isDeviceText(data) ? FILE_TYPE.character : FILE_TYPE.socket
}

/** The number in "major,minor" as the kernel encodes it (`new_encode_dev`), 0 where `data` holds none. Throws MessageError. */
export function deviceNumber(data: string): number {
  if (!isDeviceText(data)) return 0
  const [major = 0, minor = 0] = data.split(',').map(Number)
  if (major > 0xfff || minor > 0xfffff) throw new MessageError(`its device number ${data} has more than 12 and 20 bits`)
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}

function isDeviceText(data: string): boolean {
  return /^\d{1,10},\d{1,10}$/.test(data)
}
