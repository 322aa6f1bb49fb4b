import t from 'tap'
import { defaultCacheDir } from '../../lib/base/index.ts'

t.test('defaultCacheDir() suits the user and his settings', async (t) => {
  t.equal(defaultCacheDir({ XDG_CACHE_HOME: '/x/cache' }), '/x/cache/flistfs')
  const uid = t.intercept(process, 'geteuid', { value: () => 1000 })
  t.match(defaultCacheDir({ XDG_CACHE_HOME: 'relative' }), /^\/.*\/\.cache\/flistfs$/)
  uid.restore()
  t.intercept(process, 'geteuid', { value: () => 0 })
  t.equal(defaultCacheDir({}), '/var/cache/flistfs')
})
