import { FlistError } from '../base/index.ts'
import { type Digest, isDigest } from './digest.ts'
import { isTagOrDigest } from './layout.ts'

/** Where an image is, as the user wrote it. */
export type Reference =
  | { readonly transport: 'registry'; readonly name: string; readonly image: RegistryName }
  | {
      readonly transport: FileTransport
      readonly name: string
      readonly path: string
      readonly tag: string | undefined
    }
  | { readonly transport: 'docker-daemon' | 'podman'; readonly name: string; readonly image: string }

export type FileTransport = 'oci' | 'oci-archive' | 'docker-archive'

export interface RegistryName {
  /** Host and port as written; `docker.io` where none is. */
  readonly registry: string
  readonly repository: string
  /** `latest` where neither tag nor digest is said. */
  readonly tag: string | undefined
  readonly digest: Digest | undefined
}

const DOCKER = 'docker.io'
const DOCKER_ALIASES = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])
const FILE_TRANSPORTS: readonly FileTransport[] = ['oci', 'oci-archive', 'docker-archive']
/** distribution/reference, "Grammar". */
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const TAG = /^\w[\w.-]{0,127}$/
const HOST = /^(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::\d{1,5})?$/
const REPOSITORY_CHARACTERS_MAX = 255

/** Reads what stands for IMAGE. Throws FLIST_USAGE. */
export function parseReference(text: string): Reference {
  const [, scheme = '', rest = ''] = /^([a-z-]+):(.*)$/s.exec(text) ?? []
  for (const transport of FILE_TRANSPORTS) if (transport === scheme) return fileReference(transport, text, rest)
  if (scheme === 'docker-daemon' || scheme === 'podman') {
    if (rest === '') throw wrong(text, 'the name of the image is missing')
    return { transport: scheme, name: text, image: rest }
  }
  const name = scheme === 'docker' && rest.startsWith('//') ? rest.slice(2) : text
  return { transport: 'registry', name: text, image: parseRegistryName(name) }
}

/** The one file that an image is in, or goes to, where it is one of this machine. Throws FLIST_USAGE. */
export function imageFile(text: string): string | undefined {
  const reference = parseReference(text)
  return reference.transport === 'oci-archive' || reference.transport === 'docker-archive' ? reference.path : undefined
}

/** The path ends at the first colon: names of images have some. */
function fileReference(transport: FileTransport, name: string, rest: string): Reference {
  const colon = rest.indexOf(':')
  const path = colon < 0 ? rest : rest.slice(0, colon)
  const tag = colon < 0 ? undefined : rest.slice(colon + 1)
  if (path === '') throw wrong(name, 'the path is missing')
  if (tag !== undefined && !isTagOrDigest(tag)) throw wrong(name, `"${tag}" is no tag`)
  return { transport, name, path, tag }
}

/** `debian`, `quay.io/user/name:tag`, `[::1]:5000/name@sha256:HEX`: docker's rules. */
export function parseRegistryName(text: string): RegistryName {
  const at = text.indexOf('@')
  const digest = at < 0 ? undefined : text.slice(at + 1)
  if (digest !== undefined && !isDigest(digest)) throw wrong(text, `"${digest}" is no digest`)
  let rest = at < 0 ? text : text.slice(0, at)
  const slash = rest.indexOf('/')
  const first = slash < 0 ? '' : rest.slice(0, slash)
  const isHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase()
  let registry = isHost ? first : DOCKER
  if (isHost) rest = rest.slice(slash + 1)
  if (!HOST.test(registry)) throw wrong(text, `"${registry}" is no host`)
  if (DOCKER_ALIASES.has(registry.toLowerCase())) registry = DOCKER
  const colon = rest.lastIndexOf(':')
  const tag = colon < 0 ? undefined : rest.slice(colon + 1)
  let repository = colon < 0 ? rest : rest.slice(0, colon)
  if (tag !== undefined && !TAG.test(tag)) throw wrong(text, `"${tag}" is no tag`)
  if (registry === DOCKER && !repository.includes('/')) repository = `library/${repository}`
  if (!REPOSITORY.test(repository) || repository.length > REPOSITORY_CHARACTERS_MAX) {
    throw wrong(text, 'the name of an image has lower case letters, digits, and ".", "_", "-" between them')
  }
  return { registry, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest }
}

function wrong(text: string, why: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use "${text}" as an image: ${why}`, {
    hint: 'Write REGISTRY/NAME:TAG, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, docker-daemon:NAME or podman:NAME',
  })
}
