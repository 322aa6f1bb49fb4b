import fc from 'fast-check'
import t from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { resolveArchive } from '../../lib/store/archive-name.ts'
import { hasInlineSecret, parseStoreRoute, parseStoreUrl, redactUrl } from '../../lib/store/store-url.ts'

void t.test('parseStoreRoute() reads ranges', async (t) => {
  t.same(parseStoreRoute('dir:///x'), { start: 0, end: 255, url: 'dir:///x' })
  t.same(parseStoreRoute('00-7f=dir:///x'), { start: 0, end: 127, url: 'dir:///x' })
  t.same(parseStoreRoute('A0-fF=http://h/?a=b'), { start: 160, end: 255, url: 'http://h/?a=b' })
  t.same(parseStoreRoute('7f-7f=zdb://h'), { start: 127, end: 127, url: 'zdb://h' })
  for (const bad of [
    '80-7f=dir:///x',
    '0-7f=dir:///x',
    '00-100=dir:///x',
    'gg-ff=dir:///x',
    '00-ff=',
    '',
    'x',
    'dir:',
    'http://',
    '=dir:///x',
  ]) {
    t.throws(() => parseStoreRoute(bad), { code: 'FLIST_USAGE' }, `"${bad}"`)
  }
})

void t.test('parseStoreUrl() takes each scheme apart', async (t) => {
  const of = (url: string): object => parseStoreUrl(url, '/base')
  t.match(of('dir:///a/b c%20d?e'), { scheme: 'dir', path: '/a/b c%20d?e' })
  t.match(of('dir://tmp/x'), { path: '/x' }, 'the host is ignored, as rfs does')
  t.match(of('dir:rel/x'), { path: '/base/rel/x' })
  t.match(of('dir:/abs'), { path: '/abs' })
  t.match(of('zdb://h'), { scheme: 'zdb', host: 'h', port: 9900, namespace: '', user: '', password: '' })
  t.match(of('zdb://u:p%40w@[::1]:77/ns'), { host: '::1', port: 77, namespace: 'ns', user: 'u', password: 'p@w' })
  t.match(of('zdb:///run/zdb.sock?namespace=ns'), { host: '', path: '/run/zdb.sock', namespace: 'ns' })
  t.match(of('zdb:///s?namespace=ns&password=p%26w'), { path: '/s', namespace: 'ns', password: 'p&w' })
  t.match(of('redis://h/3'), { port: 6379, namespace: '3' })
  t.match(of('HTTPS://u:p@h:1/a/?x=%20y&password-file=/f#frag'), {
    scheme: 'https',
    path: 'https://h:1/a/?x=%20y',
    user: 'u',
    password: 'p',
    secrets: { passwordFile: '/f' },
  })
  for (const bad of [
    'redis://h/x',
    'zdb://h/a/b',
    'zdb://',
    'zdb://h:99999',
    'http://u:%zz@h',
    'ftp://h',
    'dir://host',
    'dir:\0',
  ]) {
    t.throws(() => of(bad), { code: 'FLIST_USAGE' }, bad)
  }
})

void t.test('parseStoreUrl() takes servers and S3 apart', async (t) => {
  const of = (url: string): object => parseStoreUrl(url, '/base')
  t.match(of('server://http://h:4000?token=a.b-c&x=1'), {
    scheme: 'server',
    path: 'http://h:4000/?x=1',
    host: 'h',
    port: 4000,
    token: 'a.b-c',
  })
  t.match(of('server://https://u:p@[::1]/base/?token-file=/f'), {
    path: 'https://[::1]/base/',
    host: '::1',
    port: 443,
    user: 'u',
    secrets: { tokenFile: '/f' },
    token: '',
  })
  t.match(of('server+https://h/'), { scheme: 'server', path: 'https://h/' })
  t.match(of('server://h:1'), { path: 'http://h:1/' }, 'http where nothing is said')
  t.match(of('s3://key:sec%2Fret@h:9000/bucket?region=r-1'), {
    scheme: 's3',
    path: 'http://h:9000',
    host: 'h',
    port: 9000,
    user: 'key',
    password: 'sec/ret',
    bucket: 'bucket',
    prefix: '',
    region: 'r-1',
  })
  for (const scheme of ['s3s', 's3+tls', 's3s+tls', 'S3S'])
    t.match(of(`${scheme}://[::1]/b/x/%20y/`), {
      scheme: 's3s',
      path: 'https://[::1]',
      port: 443,
      bucket: 'b',
      prefix: 'x/ y',
    })
  t.match(of('https://h/?ca-file=/a&cert-file=/b&key-file=/c'), {
    path: 'https://h/',
    secrets: { caFile: '/a', certFile: '/b', keyFile: '/c' },
  })
  const here = of('zdb://h/ns?password-file=sub/pw&token-env=T')
  t.match(here, { secrets: { passwordFile: '/base/sub/pw', tokenEnv: 'T' } }, 'who reads it may be elsewhere')
  for (const bad of ['s3://h', 's3://h/', 's3:/h/b', 's3s://h:99999/b', 'server://', 'server://ftp://', 'server:x']) {
    t.throws(() => of(bad), { code: 'FLIST_USAGE' }, bad)
  }
  for (const bad of ['zdb://h?ca-file=/a', 'redis://h?cert-file=/a'])
    t.throws(() => of(bad), { code: 'FLIST_USAGE', message: /no TLS/ })
})

const SECRETS = [
  'http://u:hunter2@h/x',
  'redis://hunter2@h',
  'zdb://:hunter2@h/ns',
  'http://a@b:hunter2@h/',
  'http://h/?token=hunter2',
  'http://h/?a=1&X-Amz-Signature=hunter2&b=2',
  'http://h/?%74oken=hunter2',
  'http://h/?a=1#access_token=hunter2',
  'server://http://u:hunter2@h:1?token=hunter2',
  'http://h/?%zz=hunter2',
  'nonsense://x:hunter2@y',
  'zdb:///s?password=hunter2',
  's3://key:hunter2@h:9000/b',
  's3s://hunter2@h/b?region=x',
  's3://KEY:hun/hunter2@h:9000/bucket',
  's3s://KEY:/hunter2@h/bucket',
  's3://KEY:12/hunter2@h/bucket',
  's3://KEY:12/hun/hunter2@h:9000/bucket',
  's3://a.b:12/hunter2@h/bucket',
  '00-7f=s3s://KEY:1/hunter2/@h/bucket',
  'redis://:12/hunter2@h',
  'zdb://:12?hunter2@h/ns',
  'zdb://a.b:12/hunter2@h/ns',
  'https://me:12/hunter2@h/x',
  'server://http://me:12/hunter2@h',
  '00-7f=s3s://KEY:hunter2/+@h/bucket',
  'zdb://:hunter2?x@h:9900/ns',
  'zdb://:x#hunter2@h',
  'server://http://u:hunter2/x@h',
  'https:u:hunter2@h/x',
  'http:\\\\u:hunter2@h/',
  'server://h#token=hunter2',
]

void t.test('redactUrl() and hasInlineSecret() find secrets, and only those', async (t) => {
  for (const url of SECRETS) {
    t.notMatch(redactUrl(url), 'hunter2')
    t.ok(hasInlineSecret(url), url)
    try {
      t.notMatch(parseStoreUrl(url, '/').name, 'hunter2')
    } catch (error) {
      t.ok(error instanceof FlistError)
      t.notMatch(`${String(error)} ${JSON.stringify(error)}`, 'hunter2')
    }
  }
  for (const url of [
    'dir:///a',
    'zdb://h:9900/ns',
    'http://h/a?page=1',
    'http://h/?password-file=/f&token-env=T',
    'https://h/?key-file=/k',
    's3://h/b?region=r',
    'http://h/a@b',
    'http://[::1]:80/a@b',
    'http://host:8080/@scope/x',
    'http://host:8080/x?from=a@b',
    'http://localhost:8080/a@b',
    'https://h.example.org:8080/a@b',
    's3://h.example.org:9000/bucket/a@b',
    's3://[::1]/bucket/a@b',
    'dir:///a:b/c@d',
    'zdb:///run/a@b',
  ]) {
    t.equal(redactUrl(url), url)
    t.notOk(hasInlineSecret(url))
  }
})

void t.test('parseStoreUrl() says that an address has a zone', async (t) => {
  for (const url of [
    'http://[fe80::1%25eth0]/x',
    'https://me:hunter2@[fe80::1%eth0]:1/',
    'zdb://[fe80::1%25eth0]:9900/ns',
    'redis://:hunter2@[fe80::1%eth0]',
    's3://[fe80::1%eth0]:9000/b',
    'server://http://[fe80::1%eth0]:1',
  ]) {
    const said = { code: 'FLIST_USAGE', message: /an IPv6 address with a zone/, hint: /means the same on every link/ }
    t.throws(() => parseStoreUrl(url, '/'), said, url)
  }
  t.throws(() => parseStoreUrl('http://[::1/x%20]', '/'), { message: /it is not a URL/ })
  const options = { cacheDir: '/', hub: undefined, digest: undefined }
  await t.rejects(resolveArchive('http://[fe80::1%25eth0]/a.fl', options, AbortSignal.abort()), {
    code: 'FLIST_USAGE',
    hint: /means the same on every link/,
  })
})

void t.test('parseStoreUrl() says what to encode in a password', async (t) => {
  t.throws(() => parseStoreUrl('s3://KEY:SEC/RET@h:9000/bucket', '/'), {
    code: 'FLIST_USAGE',
    message: 'Cannot use store "s3://***@h:9000/bucket": its user or password is not encoded',
    hint: /%2F/,
  })
  t.match(parseStoreUrl('s3://KEY:SEC%2FRET@h:9000/bucket', '/'), { password: 'SEC/RET' })
  for (const [url, shown] of [
    ['s3://KEY:12/SECRET@h/bucket', 's3://***@h/bucket'],
    ['s3s://KEY:12/SEC/RET@h:9000/bucket', 's3s://***@h:9000/bucket'],
    ['redis://:12/SECRET@h', 'redis://***@h'],
    ['https://me:12/SECRET@h/x', 'https://***@h/x'],
  ] as const)
    t.throws(() => parseStoreUrl(url, '/'), {
      code: 'FLIST_USAGE',
      message: `Cannot use store "${shown}": its user or password is not encoded`,
      hint: /%2F.* or put it into a file/,
    })
  t.match(parseStoreUrl('s3://KEY:12%2FSECRET@h/bucket', '/'), { user: 'KEY', password: '12/SECRET', host: 'h' })
  t.match(parseStoreUrl('s3://h:9000/bucket/a%40b', '/'), { host: 'h', prefix: 'a@b' })
})

void t.test('any text gives a route or FLIST_USAGE, and userinfo never shows', async (t) => {
  const part = fc.string({ maxLength: 12 })
  const scheme = fc.constantFrom('dir:', 'zdb://', 'redis://', 'http://', 'https://', 's3://', '', 'x://')
  fc.assert(
    fc.property(scheme, part, part, (head, tail, range) => {
      for (const text of [head + tail, `${range}=${head}${tail}`]) {
        try {
          parseStoreRoute(text)
        } catch (error) {
          if (!(error instanceof FlistError) || error.code !== 'FLIST_USAGE') return false
        }
      }
      return !redactUrl(`http://user:hunter2@h/${tail}`).includes('hunter2')
    }),
    { numRuns: Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 500) },
  )
  t.pass()
})
