import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { exportArchive } from '../../../lib/index.ts'
import { convertIn, differences, signal } from '../convert-it.ts'
import {
  authOf,
  NO_REGISTRY,
  PASSWORD,
  type Registry,
  skopeo,
  startRegistry,
  under127,
  USER,
} from '../docker-registry.ts'
import { tarOf, writeLayout } from '../make-image.ts'

const NO_SKOPEO = NO_REGISTRY || (spawnSync('skopeo', ['--version']).status !== 0 && 'needs skopeo')

for (const name of ['DOCKER_CONFIG', 'REGISTRY_AUTH_FILE', 'XDG_RUNTIME_DIR', 'http_proxy', 'https_proxy'])
  delete process.env[name]

const dir = t.testdir({ docker: {}, home: {}, empty: {} })
process.env['DOCKER_CONFIG'] = join(dir, 'docker')
process.env['XDG_CONFIG_HOME'] = join(dir, 'home')

const layers = [
  {
    tar: tarOf([
      { name: 'etc/', type: 'directory' },
      { name: 'etc/one', data: 'one' },
      { name: 'etc/two', data: '2'.repeat(700_000) },
    ]),
  },
  { tar: tarOf([{ name: 'etc/.wh.one' }, { name: 'etc/three', data: 'three', xattrs: { 'user.a': 'b' } }]) },
]
writeLayout(join(dir, 'layout'), { v1: { layers, config: { Cmd: ['/bin/sh'] } } })

function login(hosts: Record<string, unknown>, more: Record<string, unknown> = {}): void {
  writeFileSync(join(dir, 'docker/config.json'), JSON.stringify({ auths: hosts, ...more }))
}

async function push(registry: Registry, name: string): Promise<void> {
  const creds = ['--dest-creds', `${USER}:${PASSWORD}`, '--dest-tls-verify=false']
  await under127(registry, (host) => skopeo('copy', ...creds, `oci:${dir}/layout:v1`, `docker://${host}/${name}`))
}

t.test('convert() pulls from a registry with TLS and a password on [::1]', { skip: NO_SKOPEO }, async (t) => {
  const registry = await startRegistry(t, 'tls')
  await push(registry, 'team/app:v1')
  const image = `${registry.host}/team/app:v1`
  login({ [registry.host]: authOf() })
  await t.rejects(
    convertIn(dir, image, 'no'),
    { code: 'FLIST_STORE_PROTOCOL', hint: /FLISTFS_CA_FILE/ },
    'its authority is unknown',
  )
  process.env['FLISTFS_CA_FILE'] = registry.caFile
  const local = await convertIn(dir, `oci:${dir}/layout:v1`, 'local')
  const pulled = await convertIn(dir, image, 'pulled')
  t.equal(pulled.digest, local.digest, 'the same archive as from the layout')
  t.equal(pulled.layers, 2)
  const byDigest = await convertIn(dir, `${registry.host}/team/app@${pulled.imageDigest}`, 'digest')
  t.equal(byDigest.digest, local.digest, 'by digest')

  login({ [registry.host]: authOf(USER, 'wrong') })
  const denied = { code: 'FLIST_STORE_DENIED', message: new RegExp(`^((?!wrong).)*$`, 's') }
  await t.rejects(convertIn(dir, image, 'no'), denied, 'a wrong password, which is not told')
  login({})
  await t.rejects(convertIn(dir, image, 'no'), denied, 'no password')
  login({ [`https://${registry.host}/v2/`]: authOf() })
  t.equal((await convertIn(dir, image, 'pulled')).digest, local.digest, 'a record by URL')
  await t.rejects(convertIn(dir, `${registry.host}/team/app:absent`, 'no'), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(convertIn(dir, image, 'no', { platform: 'linux/s390x' }), {
    code: 'FLIST_NOT_FOUND',
    hint: /linux\/amd64/,
  })

  mkdirSync(join(dir, 'home/containers/certs.d', registry.host), { recursive: true })
  delete process.env['FLISTFS_CA_FILE']
  execFileSync('cp', [registry.caFile, join(dir, 'home/containers/certs.d', registry.host, 'ca.crt')])
  mkdirSync(join(dir, 'home/containers'), { recursive: true })
  login({})
  writeFileSync(
    join(dir, 'home/containers/auth.json'),
    JSON.stringify({ auths: { [`${registry.host}/team`]: authOf() } }),
  )
  t.equal(
    (await convertIn(dir, image, 'pulled')).digest,
    local.digest,
    "podman's files: an authority, and a password for a part of the registry",
  )
  rmSync(join(dir, 'home/containers'), { recursive: true })
})

t.test('convert() asks credential helpers', { skip: NO_SKOPEO }, async (t) => {
  const registry = await startRegistry(t, 'helper', { plain: true })
  await push(registry, 'app:v1')
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  const helper = (name: string, lines: string): void =>
    writeFileSync(join(bin, `docker-credential-${name}`), `#!/bin/sh\n${lines}\n`, { mode: 0o755 })
  helper(
    'good',
    `read host; [ "$1" = get ] && [ "$host" = "${registry.host}" ] && echo '{"ServerURL":"x","Username":"${USER}","Secret":"${PASSWORD}"}'`,
  )
  helper('unknown', `echo 'credentials not found in native keychain'; exit 1`)
  helper('broken', 'echo secret-words; exit 3')
  const path = process.env['PATH']
  process.env['PATH'] = `${bin}:${path}`
  t.teardown(() => (process.env['PATH'] = path))
  const image = `${registry.host}/app:v1`
  login({}, { credHelpers: { [registry.host]: 'good' } })
  t.equal((await convertIn(dir, image, 'helped')).layers, 2, 'one for the registry')
  login({ [registry.host]: {} }, { credsStore: 'good' })
  t.equal((await convertIn(dir, image, 'helped')).layers, 2, 'one for all')
  login({ [registry.host]: authOf() }, { credsStore: 'unknown' })
  t.equal((await convertIn(dir, image, 'helped')).layers, 2, 'one that does not know')
  for (const name of ['broken', 'absent', '../good']) {
    login({}, { credHelpers: { [registry.host]: name } })
    const denied = { code: 'FLIST_STORE_DENIED', message: /^((?!secret-words).)*$/s }
    await t.rejects(convertIn(dir, image, 'no'), denied, `the helper "${name}"`)
  }
})

t.test('export pushes what skopeo and convert pull; mirrors are asked first', { skip: NO_SKOPEO }, async (t) => {
  const registry = await startRegistry(t, 'main', { plain: true })
  const mirror = await startRegistry(t, 'mirror', { plain: true, open: true, address: '127.0.0.1' })
  login({ [registry.host]: authOf() })
  const made = await convertIn(dir, `oci:${dir}/layout:v1`, 'made', { startup: true })
  const words = { archive: made.path, cacheDir: join(dir, 'cache'), plainHttp: [registry.host] }
  const exported = await exportArchive({ ...words, image: `${registry.host}/out/app:v2` }, signal())
  const again = await exportArchive({ ...words, image: `${registry.host}/out/app:v2` }, signal())
  t.equal(again.imageDigest, exported.imageDigest, 'the same digest each time')
  const creds = ['--tls-verify=false', '--creds', `${USER}:${PASSWORD}`]
  const seen = await under127(registry, (host) => skopeo('inspect', ...creds, `docker://${host}/out/app:v2`))
  t.equal((JSON.parse(seen) as { Digest: string }).Digest, exported.imageDigest)
  const back = await convertIn(dir, `${registry.host}/out/app:v2`, 'back', { startup: true })
  t.strictSame(await differences(dir, made.path, back.path), [], 'the same tree')

  const warnings: string[] = []
  const mirrors = [`${registry.host}=http://${mirror.host}/copy`]
  await convertIn(dir, `${registry.host}/out/app:v2`, 'back', { mirrors }, (text) => warnings.push(text))
  t.match(
    warnings[0],
    /^Mirror "127\.0\.0\.1:\d+" was of no use: FLIST_NOT_FOUND/,
    'it is not there: the registry has it',
  )
  await exportArchive({ ...words, image: `${mirror.host}/copy/out/app:v2`, plainHttp: [] }, signal())
  login({})
  const mirrored = await convertIn(dir, `${registry.host}/out/app:v2`, 'back', { mirrors })
  t.equal(mirrored.imageDigest, exported.imageDigest, 'from the mirror, without the password of the registry')
})
