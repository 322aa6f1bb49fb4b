import { parseStoreUrl, replaceUserinfo } from './store-url.ts'

const SECRET_PARAMETER = /^(?:token|password|(?:password|token|ca|cert|key)-(?:file|env))$/i

/**
 * A store's URL as an archive may tell it to everybody: without user, password and token, and without the names of our files that
 * hold them. A folder's is absolute. Throws FLIST_USAGE.
 */
export function publicUrl(url: string, baseDir: string): string {
  const { scheme, path } = parseStoreUrl(url, baseDir)
  if (scheme === 'dir') return `dir://${path}`
  const bare = replaceUserinfo(url, '')
  const question = bare.indexOf('?')
  if (question < 0) return bare
  const kept = bare
    .slice(question + 1)
    .split('&')
    .filter((part) => part !== '' && !SECRET_PARAMETER.test(nameOf(part)))
  return bare.slice(0, question) + (kept.length === 0 ? '' : `?${kept.join('&')}`)
}

function nameOf(part: string): string {
  try {
    return decodeURIComponent(part.split('=')[0] ?? '')
  } catch {
    // Nobody can tell what such a name means.
    return 'token'
  }
}
