import t from 'tap'
import { LIMITS } from '../../../lib/base/index.ts'
import { backendRoute, ROUTER_BYTES_MAX, routerRoutes } from '../../../lib/flist/v1/routes.ts'

void t.test('backendRoute() makes a URL of the tag', (t) => {
  const urls: [object, string | undefined][] = [
    [{ namespace: 'default', host: 'hub.grid.tf', port: 9900 }, 'zdb://hub.grid.tf:9900/default'],
    [{ host: '10.0.0.1', port: 9901, password: 'p@ss/wörd' }, 'zdb://:p%40ss%2Fw%C3%B6rd@10.0.0.1:9901'],
    [{ host: '2a10::1', port: 1, namespace: 'a/b' }, 'zdb://[2a10::1]:1/a%2Fb'],
    [{ host: '[2a10::1]' }, 'zdb://[2a10::1]:9900'],
    [
      { host: 'h', port: 0, socket: '/run/zdb x.sock', namespace: 'n', password: 'p&' },
      'zdb:///run/zdb%20x.sock?namespace=n&password=p%26',
    ],
    [{ host: 'h', port: 0, socket: '/s' }, 'zdb:///s'],
    [{ host: 'h', port: 0 }, undefined],
    [{ host: 'h', port: '9900' }, undefined],
    [{ host: 'h', port: 1.5 }, undefined],
    [{ host: 'h', port: 65536 }, undefined],
    [{ host: 'evil/path?x#', port: 1 }, undefined],
    [{ host: 'user@host', port: 1 }, undefined],
    [{ host: '', port: 1 }, undefined],
    [{ port: 1 }, undefined],
    [[], undefined],
  ]
  for (const [backend, url] of urls) {
    const route = backendRoute(JSON.stringify(backend))
    t.strictSame(route, url === undefined ? undefined : { start: 0, end: 255, url }, JSON.stringify(backend))
    if (url !== undefined) t.ok(URL.canParse(url), url)
  }
  for (const text of [undefined, '', '{', 'null', '7', '"x"']) t.equal(backendRoute(text), undefined)
  t.end()
})

const routes = (yaml: string): unknown => routerRoutes(Buffer.from(yaml))

void t.test('routerRoutes() keeps the order of the lookup', (t) => {
  const yaml = `
pools:
  second: { 00:7f: "zdb://secret@b:1", 8: ardb://b2:2, "9abc": "redis://[::1]:3" }
  first:
    "0012:10ff": 'redis://a'
    ff: zdb://p%40w@a:9900
    "f0:0f": zdb://never:1
  unused: { xyz: nonsense }
lookup: [first, second]
cache: [unused]
`
  t.strictSame(routes(yaml), [
    { start: 0x00, end: 0x10, url: 'redis://a' },
    { start: 0xff, end: 0xff, url: 'redis://:p%40w@a:9900' },
    { start: 0x00, end: 0x7f, url: 'redis://:secret@b:1' },
    { start: 0x80, end: 0x80, url: 'redis://b2:2' },
    { start: 0x9a, end: 0x9a, url: 'redis://[::1]:3' },
  ])
  t.strictSame(routes('pools: {a: {"123:abc": "zdb://h:1"}}\nlookup: [a]'), [
    { start: 0x12, end: 0xab, url: 'redis://h:1' },
  ])
  t.strictSame(routes('pools: {}\nlookup: []'), [])
  t.end()
})

void t.test('routerRoutes() refuses what is no router', (t) => {
  const bomb = `a0: &a0 [x]\n${Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array.from({ length: 9 }, () => `*a${i}`).join(', ')}]\n`).join('')}`
  const cases: Record<string, string> = {
    nothing: '',
    'a scalar': 'hello',
    'a list': '- a',
    'no lookup': 'pools: {}',
    'no pools': 'lookup: []',
    'pools that are a list': 'pools: []\nlookup: []',
    'a pool it does not have': 'pools: {}\nlookup: [a]',
    'a pool by a list': 'pools: {}\nlookup: [[a]]',
    'a pool that is text': 'pools: {a: b}\nlookup: [a]',
    'a URL that is a map': 'pools: {a: {"00": {b: c}}}\nlookup: [a]',
    'a range that is no hex': 'pools: {a: {zz: "zdb://h:1"}}\nlookup: [a]',
    'a range of two lengths': 'pools: {a: {"00:1122": "zdb://h:1"}}\nlookup: [a]',
    'a URL of another kind': 'pools: {a: {"00": "http://h:1"}}\nlookup: [a]',
    'a URL that is none': 'pools: {a: {"00": "::"}}\nlookup: [a]',
    'a URL without a host': 'pools: {a: {"00": "zdb:///x"}}\nlookup: [a]',
    'broken YAML': 'pools: {a: [}',
    'two documents': 'pools: {}\n---\npools: {}',
    'a bomb of aliases': `${bomb}pools: {}\nlookup: *a30`,
    'an alias of itself': 'pools: &a {a: *a}\nlookup: [a]',
    'brackets without end': '['.repeat(60_000),
    'brackets one a line': '[\n'.repeat(30_000),
    'lists in lists': '- '.repeat(20_000),
    'deeper and deeper': Array.from({ length: 300 }, (_, i) => `${' '.repeat(i)}a:\n`).join(''),
    'tags without end': '!!x '.repeat(16_000),
    'comments without end': '#\n'.repeat(32_000),
    'keys without end': Array.from({ length: 7000 }, (_, i) => `${i}: x\n`).join(''),
    'question marks': '? '.repeat(20_000),
  }
  for (const [name, yaml] of Object.entries(cases)) {
    t.throws(() => routes(yaml), { code: 'FLIST_ARCHIVE_DAMAGED' }, name)
  }
  t.throws(() => routes('x'.repeat(ROUTER_BYTES_MAX + 1)), { code: 'FLIST_LIMIT' })
  const half = Array.from(
    { length: LIMITS.routesMax / 2 + 1 },
    (_, i) => ` ${(i + 0x10000).toString(16).slice(1)}: zdb://h\n`,
  )
  t.throws(() => routes(`lookup: [a, a]\npools:\n a:\n ${half.join(' ')}`), { code: 'FLIST_LIMIT' })
  t.end()
})

void t.test('routerRoutes() shows no password when it refuses', (t) => {
  try {
    routes('pools: {a: {"00": "http://secret@h:1"}}\nlookup: [a]')
    t.fail('not refused')
  } catch (error) {
    t.notMatch(String(error), /secret/)
  }
  t.end()
})
