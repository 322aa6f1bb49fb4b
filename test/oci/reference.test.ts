import t from 'tap'
import { parsePlatform, platformText, suits } from '../../lib/oci/platform.ts'
import { parseReference, parseRegistryName } from '../../lib/oci/reference.ts'
import { parseMirror, placesOf } from '../../lib/oci/registry/places.ts'

const HEX = 'a'.repeat(64)

t.test('parseRegistryName() has the defaults that docker has', async (t) => {
  const cases: [string, string, string, string | undefined, string?][] = [
    ['debian', 'docker.io', 'library/debian', 'latest'],
    ['debian:12', 'docker.io', 'library/debian', '12'],
    ['user/app', 'docker.io', 'user/app', 'latest'],
    ['docker.io/debian', 'docker.io', 'library/debian', 'latest'],
    ['index.docker.io/user/app:x', 'docker.io', 'user/app', 'x'],
    ['quay.io/a/b/c:v1.2_3-4', 'quay.io', 'a/b/c', 'v1.2_3-4'],
    ['localhost/app', 'localhost', 'app', 'latest'],
    ['localhost:5000/app:1', 'localhost:5000', 'app', '1'],
    ['[::1]:5000/app:1', '[::1]:5000', 'app', '1'],
    ['[fe80::1]/team/app', '[fe80::1]', 'team/app', 'latest'],
    [`host.example/a@sha256:${HEX}`, 'host.example', 'a', undefined, `sha256:${HEX}`],
    [`host.example:80/a:tag@sha256:${HEX}`, 'host.example:80', 'a', 'tag', `sha256:${HEX}`],
    ['a__b/c-d--e.f', 'docker.io', 'a__b/c-d--e.f', 'latest'],
  ]
  for (const [text, registry, repository, tag, digest] of cases) {
    t.strictSame(parseRegistryName(text), { registry, repository, tag, digest }, text)
  }
  const wrong = [
    '',
    ':',
    'Debian',
    'a/B',
    'a//b',
    'a/',
    '/a',
    'a:b:c',
    'a@sha256:12',
    'a@md5:12',
    'a b',
    'a:',
    'host:port/a',
    `a:${'x'.repeat(129)}`,
    'x'.repeat(256),
    '-a',
    'a..b',
    '[::1/a',
    'user:secret@host/a',
    'http://host/a',
  ]
  for (const text of wrong) t.throws(() => parseRegistryName(text), { code: 'FLIST_USAGE' }, text)
})

t.test('parseReference() knows where images are', async (t) => {
  t.match(parseReference('oci:some/dir'), { transport: 'oci', path: 'some/dir', tag: undefined })
  t.match(parseReference('oci:/dir:v1'), { transport: 'oci', path: '/dir', tag: 'v1' })
  t.match(parseReference('oci-archive:f.tar:a/b:c'), { transport: 'oci-archive', path: 'f.tar', tag: 'a/b:c' })
  t.match(parseReference('docker-archive:f.tar:docker.io/library/x:1'), { path: 'f.tar', tag: 'docker.io/library/x:1' })
  t.match(parseReference(`oci:d:@sha256:${HEX}`), { path: 'd', tag: `@sha256:${HEX}` })
  t.match(parseReference('docker-daemon:app:1'), { transport: 'docker-daemon', image: 'app:1' })
  t.match(parseReference('podman:localhost/app'), { transport: 'podman', image: 'localhost/app' })
  t.match(parseReference('docker://alpine'), {
    transport: 'registry',
    name: 'docker://alpine',
    image: { repository: 'library/alpine' },
  })
  t.match(parseReference('oci/app:1'), { transport: 'registry', image: { repository: 'oci/app', tag: '1' } })
  for (const text of ['oci:', 'oci::tag', 'podman:', 'oci:d: x', 'docker-daemon:']) {
    t.throws(() => parseReference(text), { code: 'FLIST_USAGE', hint: /oci:DIR/ }, text)
  }
})

t.test('parsePlatform() and suits() choose as docker does', async (t) => {
  t.equal(platformText(parsePlatform('aarch64')), 'linux/arm64')
  t.equal(platformText(parsePlatform('Linux/ARM/v7')), 'linux/arm/v7')
  t.equal(platformText(parsePlatform('armhf')), 'linux/arm/v7')
  t.equal(parsePlatform(undefined).os, 'linux')
  for (const text of ['', '/', 'linux/', 'a/b/c/d', 'linux/arm/'])
    t.throws(() => parsePlatform(text), { code: 'FLIST_USAGE' }, text)
  const best = (wanted: string, offered: readonly string[]): string | undefined => {
    const platform = parsePlatform(wanted)
    const values = offered.map((text) => {
      const [os = '', architecture = '', variant] = text.split('/')
      return suits(platform, { os, architecture, ...(variant === undefined ? {} : { variant }) })
    })
    const most = Math.max(...values)
    return most === 0 ? undefined : offered[values.indexOf(most)]
  }
  t.equal(best('linux/amd64', ['windows/amd64', 'linux/arm64', 'linux/amd64']), 'linux/amd64')
  t.equal(best('linux/arm64', ['linux/arm64/v8']), 'linux/arm64/v8')
  t.equal(best('linux/arm64/v8', ['linux/arm64']), 'linux/arm64')
  t.equal(best('linux/arm/v7', ['linux/arm/v5', 'linux/arm/v6', 'linux/arm64']), 'linux/arm/v6')
  t.equal(best('linux/arm/v6', ['linux/arm/v7']), undefined)
  t.equal(best('linux/amd64', ['linux/amd64/v3', 'linux/amd64']), 'linux/amd64')
  t.equal(best('linux/amd64/v2', ['linux/amd64/v3']), undefined)
})

t.test('placesOf() asks mirrors first, and speaks TLS but where it need not', async (t) => {
  const image = parseRegistryName('debian')
  const mirrors = ['docker.io=mirror.example', 'quay.io=other', 'docker.io=http://[::1]:5000/cache/hub/']
  t.strictSame(
    placesOf(image, { mirrors, plainHttp: [] }).map(({ host, repository, registry, scheme }) => [
      host,
      repository,
      registry,
      scheme,
    ]),
    [
      ['mirror.example', 'library/debian', 'mirror.example', 'https'],
      ['[::1]:5000', 'cache/hub/library/debian', '[::1]:5000', 'http'],
      ['docker.io', 'library/debian', 'docker.io', 'https'],
    ],
  )
  const scheme = (name: string, plainHttp: string[] = []): string | undefined =>
    placesOf(parseRegistryName(name), { mirrors: [], plainHttp })[0]?.scheme
  t.strictSame(
    ['localhost/a', '127.0.0.1:1/a', '[::1]:1/a'].map((name) => scheme(name)),
    ['either', 'either', 'either'],
  )
  t.equal(scheme('h.example:1/a'), 'https')
  t.equal(scheme('127.evil.example/a'), 'https')
  t.equal(scheme('h.example:1/a', ['h.example:1']), 'http')
  t.equal(scheme('h.example:1/a', ['h.example']), 'http')
  for (const text of ['', 'a', 'a=', '=b', 'a=ftp://b', 'a=b c', 'a=b/../c d'])
    t.throws(() => parseMirror(text), { code: 'FLIST_USAGE' }, text)
})
