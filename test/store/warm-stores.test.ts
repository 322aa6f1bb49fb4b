import { createRequire } from 'node:module'
import t from 'tap'
import { codecReady } from '../../lib/store/codec-tools.ts'
import { warmStores } from '../../lib/store/open.ts'

const { cache } = createRequire(import.meta.url)
const clientReady = (): boolean => Object.keys(cache).some((path) => path.includes('/undici/'))
const route = (url: string): { start: number; end: number; url: string } => ({ start: 0, end: 255, url })

void t.test(
  'warmStores() loads nothing for folders, the codec and the HTTP client for others, and complains of nothing',
  async (t) => {
    await warmStores([route(`dir://${t.testdir()}`)], '/')
    t.notOk(codecReady(), 'a folder is read with what is there')
    await warmStores(
      [route('gopher://nowhere'), { ...route('http://127.0.0.1:1/?password-file=/none'), trusted: true }],
      '/',
    )
    t.notOk(codecReady(), 'what cannot be opened is left to the first read')
    t.notOk(clientReady())
    await warmStores([route('http://127.0.0.1:1'), route('http://127.0.0.1:1')], '/')
    t.ok(codecReady())
    t.ok(clientReady())
  },
)
