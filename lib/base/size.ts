import { FlistError } from './errors.ts'

const SCALE: Readonly<Record<string, number>> = {
  '': 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
  P: 1024 ** 5,
}

/**
 * Bytes of `10G`, `512MiB`, `1.5 T`, `4096`: powers of 1024 whatever the spelling (`K`, `KB`, `KiB`; case is free).
 * Throws FLIST_USAGE for anything else, for a negative size, and for more than 2^53 - 1 bytes.
 */
export function parseSize(text: string): number {
  const match = /^\s*(\d{1,16}(?:\.\d{1,9})?)\s*([KMGTP]?)(?:i?B)?\s*$/i.exec(text)
  const scale = SCALE[(match?.[2] ?? '').toUpperCase()]
  if (match === null || scale === undefined) throw notASize(text)
  const bytes = Math.round(Number(match[1]) * scale)
  if (!Number.isSafeInteger(bytes)) throw notASize(text)
  return bytes
}

function notASize(text: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot read "${text}" as a size`, {
    hint: 'Give a number with a unit, such as 10G or 512M',
  })
}
