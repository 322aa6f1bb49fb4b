/** Milliseconds of the last and first moment a Date can be. */
const DATE_MS_MAX = 8.64e15

/** `2024-05-01 12:30` in the zone of this process, as ls(1) has it in its style `long-iso`; seconds where no date is that far. */
export function localTime(seconds: number): string {
  if (Math.abs(seconds) * 1000 > DATE_MS_MAX) return String(seconds)
  const date = new Date(seconds * 1000)
  const two = (value: number): string => (value < 10 ? `0${value}` : String(value))
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`
}
