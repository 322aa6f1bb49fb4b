import { isIP } from 'node:net'
import { FlistError } from '../../base/index.ts'
import type { RegistryName } from '../reference.ts'
import type { EndpointPlace } from './endpoint.ts'

/** How registries are reached. */
export interface RegistryOptions {
  /** `REGISTRY=HOST[:PORT][/PREFIX]`, asked before the registry itself, in order. */
  readonly mirrors: readonly string[]
  /** Hosts that are spoken to without TLS. */
  readonly plainHttp: readonly string[]
}

/** Where a repository is asked for: at its mirrors, then at the registry. Throws FLIST_USAGE. */
export function placesOf(image: RegistryName, options: RegistryOptions): EndpointPlace[] {
  const { registry, repository } = image
  const own: EndpointPlace = { host: registry, repository, registry, scheme: schemeOf(registry, options) }
  const mirrors = options.mirrors.map(parseMirror).filter((mirror) => mirror.registry === registry)
  const places = mirrors.map(({ host, prefix, isPlain }): EndpointPlace => {
    const scheme = isPlain ? 'http' : schemeOf(host, options)
    return { host, repository: prefix === '' ? repository : `${prefix}/${repository}`, registry: host, scheme }
  })
  return [...places, own]
}

interface Mirror {
  readonly registry: string
  readonly host: string
  readonly prefix: string
  readonly isPlain: boolean
}

export function parseMirror(text: string): Mirror {
  const [, registry = '', scheme = '', host = '', prefix = ''] =
    /^([^=/]+)=(https?:\/\/)?((?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?)(?:\/([a-z0-9._/-]*?))?\/?$/.exec(
      text,
    ) ?? []
  if (host === '') {
    throw new FlistError('FLIST_USAGE', `Cannot use "${text}" as a mirror`, {
      hint: 'Write REGISTRY=HOST[:PORT][/PREFIX]: docker.io=mirror.example.org',
    })
  }
  return { registry, host, prefix, isPlain: scheme === 'http://' }
}

/** This machine's own registries may lack TLS, as docker has it. */
function schemeOf(host: string, { plainHttp }: RegistryOptions): EndpointPlace['scheme'] {
  const bare = bareHost(host)
  if (plainHttp.includes(host) || plainHttp.includes(bare)) return 'http'
  const isLoopback = bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
  return isLoopback ? 'either' : 'https'
}

/** Without port and brackets. */
function bareHost(host: string): string {
  return host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
}
