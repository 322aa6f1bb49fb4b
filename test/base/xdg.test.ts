import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { configHome, xdgFolder } from '../../lib/base/index.ts'
import { runtimeDir } from '../../lib/kernel/index.ts'
import { daemonSocket } from '../../lib/oci/daemon.ts'
import { credentialFiles } from '../../lib/oci/registry/credentials.ts'
import { credentialFiles as storeFiles } from '../../lib/store/host-credentials.ts'

t.test('xdgFolder() takes whole paths alone, as the specification says', async (t) => {
  for (const name of ['XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_RUNTIME_DIR'] as const) {
    t.equal(xdgFolder(name, { [name]: '/x/y' }), '/x/y')
    for (const wrong of ['x', './x', '~/x', '']) t.equal(xdgFolder(name, { [name]: wrong }), undefined, wrong)
    t.equal(xdgFolder(name, {}), undefined)
  }
  t.equal(configHome({ XDG_CONFIG_HOME: 'x', HOME: '/home/me' }), '/home/me/.config')
  t.equal(configHome({ XDG_CONFIG_HOME: '/x', HOME: '/home/me' }), '/x')
})

t.test('a variable with a path that is not whole says nothing, whoever reads it', async (t) => {
  const env = { XDG_CONFIG_HOME: 'config', XDG_RUNTIME_DIR: 'run', HOME: '/home/me' }
  const before = { ...process.env }
  t.teardown(() => (process.env = before))
  process.env = { ...before, ...env, FLISTFS_RUNTIME: '' }
  t.intercept(process, 'geteuid', { value: () => 1000 })
  t.intercept(process, 'getuid', { value: () => 1000 })
  t.equal(runtimeDir(), join(tmpdir(), 'flistfs-1000'))
  t.equal(daemonSocket('podman', env), '/run/podman/podman.sock')
  for (const file of [...credentialFiles(env), ...storeFiles()]) t.match(file, /^\//)
})
