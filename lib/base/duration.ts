import { FlistError } from './errors.ts'

const MS_OF = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

/** Milliseconds of `30`, `30s`, `500ms`, `2m` or `1h`; a bare number is seconds. `units`: what the caller takes. Throws FLIST_USAGE. */
export function parseDuration(text: string, what: string, units = 'ms, s, m or h'): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim())
  const unit = (match?.[2] ?? 's') as keyof typeof MS_OF
  const value = Math.round(Number(match?.[1] ?? Number.NaN) * MS_OF[unit])
  if (!Number.isSafeInteger(value) || value < 1 || value > 0x7fff_ffff) {
    throw new FlistError('FLIST_USAGE', `Cannot use "${text}" as ${what}`, {
      hint: `Write seconds, or a number with ${units}: 30, 500ms, 2m`,
    })
  }
  return value
}

/** `1 h 02 min`, `3 min 20 s`, `12 s`: for people. */
export function displayDuration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  if (h > 0) return `${h} h ${String(m).padStart(2, '0')} min`
  return m > 0 ? `${m} min ${String(s).padStart(2, '0')} s` : `${s} s`
}
