import t from 'tap'
import { listText, statsText } from '../../bin/texts.ts'
import { table } from '../../bin/output.ts'
import { Lines } from '../../bin/watch.ts'

t.test('table() pads to the widest cell', async (t) => {
  t.equal(
    table([
      ['A', 'B'],
      ['long', 'x'],
    ]),
    'A     B\nlong  x\n',
  )
  t.equal(table([['a\nb', 'c\td']]), 'a\\x0ab  c\\x09d\n', 'a row is a line')
})

t.test('listText() has a line a mount', async (t) => {
  const base = {
    id: 'a',
    archive: 'a.fl',
    digest: '0',
    pid: 7,
    pidStart: 1,
    startedAt: '2026-01-02T03:04:05.678Z',
    cacheDir: '/c',
  }
  const text = listText([
    { ...base, directory: '/mnt/a', connection: 1, state: 'mounted', rw: { upper: undefined, overlay: 2 } },
    { ...base, directory: '/b', connection: 3, state: 'dead' },
  ])
  t.equal(
    text,
    'DIRECTORY  ARCHIVE  PID  STATE        SINCE (UTC)          CACHE\n' +
      '/mnt/a     a.fl     7    mounted, rw  2026-01-02 03:04:05  /c\n' +
      '/b         a.fl     7    dead         2026-01-02 03:04:05  /c\n',
  )
})

t.test('statsText() shows what a server said, also of a later version', async (t) => {
  const text = statsText([
    {
      directory: '/mnt/a\nb',
      archive: 'a.fl',
      digest: 'ab',
      startedAt: new Date(Date.now() - 3_723_500).toISOString(),
      uptimeSeconds: 61,
      entries: 3,
      contentBytes: 2048,
      blocks: { total: 3, cached: 1 },
      reads: { bytes: 2048, waiting: 3, errors: 4 },
      cache: { hits: 1, bytesFetched: 1024, freshThing: { deep: true } },
      requests: { LOOKUP: { count: 5, p50Us: 10 } },
      stores: [
        { name: 'dir:store', requests: 2, bytes: 1024 },
        { name: 'zdb://a', state: 'ok' },
        { name: 'zdb://b', state: 'open', openForMs: 61_000, lastError: { message: 'Cannot reach it' } },
        { name: 'zdb://c', state: 'failing' },
      ],
      memory: { rssBytes: 1024 ** 2 },
      logLevel: 'debug',
      trace: '/tmp/a.trace',
    },
    { directory: '/mnt/b', error: { code: 'FLIST_TIMEOUT', message: 'Cannot ask' } },
  ])
  for (const part of [
    /^\/mnt\/a\\x0ab\n {2}archive/,
    'mounted for  1 h 02 min',
    'counted for  1 min 01 s, since its server began',
    'reads        bytes 2.0 KiB, waiting 3, errors 4',
    'log level    debug',
    'trace        /tmp/a.trace',
    'here         1 of 3 blocks (33 %)',
    'hits 1, bytesFetched 1.0 KiB, freshThing {"deep":true}',
    'rss 1.0 MiB',
    /LOOKUP {3}5 {6}10 {6}-/,
    /dir:store +2 +1\.0 KiB +[-.0]+ +- +-/,
    /zdb:\/\/a .* ok$/m,
    /zdb:\/\/b .*left alone for 1 min 01 s: Cannot reach it$/m,
    /zdb:\/\/c .*failing$/m,
    '/mnt/b\n  Cannot ask\n',
  ]) {
    t.match(text, part)
  }
})

t.test('Lines says what happens a second, however late a look is', async (t) => {
  const at = (bytes: number) => ({
    directory: '/m',
    archive: 'a.fl',
    digest: 'ab',
    startedAt: '2026-01-02T03:04:05Z',
    uptimeSeconds: 1,
    entries: 1,
    contentBytes: 1,
    blocks: { total: 1, cached: 1 },
    reads: { bytes },
    cache: {},
    requests: {},
    stores: [],
    memory: {},
  })
  const lines = new Lines()
  lines.next([at(0)], 1000)
  t.match(lines.next([at(5 * 1024)], 6000), / 1\.0 KiB /)
})
