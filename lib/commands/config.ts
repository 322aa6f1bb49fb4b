import { redactUrl } from '../store/index.ts'

/** Values as they may be shown: a URL may hold a password. */
export function shownValues(values: readonly (string | boolean)[]): string[] {
  return values.map((value) => (typeof value === 'string' ? redactUrl(value) : String(value)))
}
