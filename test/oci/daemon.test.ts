import { createServer } from 'node:http'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { daemonSocket } from '../../lib/oci/daemon.ts'
import { convertIn, differences } from './convert-it.ts'
import { type ImageSpec, putImage, sha256, tarOf, writeLayout } from './make-image.ts'

const dir = t.testdir({})
const spec: ImageSpec = {
  layers: [
    {
      tar: tarOf([
        { name: 'a', data: 'a' },
        { name: 'b', type: 'symlink', target: 'a' },
      ]),
      packing: 'none',
    },
  ],
}

/** What `docker save` writes of it. */
function saved(): Buffer {
  const blobs: [string, Buffer][] = []
  putImage(spec, (bytes, mediaType) => {
    blobs.push([mediaType, bytes])
    return { mediaType, digest: sha256(bytes), size: bytes.length }
  })
  const [layer, config] = blobs
  const manifest = [{ Config: 'config.json', RepoTags: ['app:1'], Layers: ['layer.tar'] }]
  return tarOf([
    { name: 'layer.tar', data: layer?.[1] ?? '' },
    { name: 'config.json', data: config?.[1] ?? '' },
    { name: 'manifest.json', data: JSON.stringify(manifest) },
  ])
}

t.test("convert() takes an image from a daemon's socket", async (t) => {
  // Beside the tests' folder the path would be too long for a socket.
  const folder = mkdtempSync(join(tmpdir(), 'flistfs-daemon-'))
  const socket = join(folder, 's')
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    if (request.url === '/images/app%3A1/get') response.end(saved())
    else if (request.url === '/images/broken/get') response.writeHead(500).end('{"message":"no"}')
    else if (request.url === '/images/broken-off/get')
      response.writeHead(200, { 'content-length': 9999 }).write(saved().subarray(0, 600), () => response.destroy())
    else if (request.url === '/images/torn/get') response.end(saved().subarray(0, 1000))
    else response.writeHead(404).end('{"message":"no such image"}')
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  const before = { ...process.env }
  process.env['DOCKER_HOST'] = process.env['CONTAINER_HOST'] = `unix://${socket}`
  t.teardown(async () => {
    process.env = before
    await new Promise((resolve) => server.close(resolve))
    rmSync(folder, { recursive: true })
  })
  writeLayout(join(dir, 'layout'), { x: spec })
  const local = await convertIn(dir, `oci:${dir}/layout:x`, 'local')
  for (const transport of ['docker-daemon', 'podman']) {
    const made = await convertIn(dir, `${transport}:app:1`, transport)
    t.strictSame(await differences(dir, local.path, made.path), [], transport)
  }
  t.strictSame(asked, ['GET /images/app%3A1/get', 'GET /images/app%3A1/get'])
  await t.rejects(convertIn(dir, 'podman:absent', 'no'), { code: 'FLIST_NOT_FOUND', hint: /Pull it/ })
  await t.rejects(convertIn(dir, 'podman:broken', 'no'), { code: 'FLIST_STORE_UNREACHABLE', message: /status 500/ })
  await t.rejects(convertIn(dir, 'podman:torn', 'no'), { code: 'FLIST_IMAGE_DAMAGED' })
  await t.rejects(convertIn(dir, 'podman:broken-off', 'no'), { code: 'FLIST_STORE_UNREACHABLE', message: /broke off/ })
  process.env['DOCKER_HOST'] = `unix://${socket}x`
  await t.rejects(convertIn(dir, 'docker-daemon:app:1', 'no'), { code: 'FLIST_STORE_UNREACHABLE', message: /ENOENT/ })
  t.strictSame(readdirSync(join(dir, 'cache/layers')), [], 'nothing is left')
})

t.test('daemonSocket() is where the daemon usually listens', async (t) => {
  t.equal(daemonSocket('docker-daemon', {}), '/var/run/docker.sock')
  t.equal(daemonSocket('docker-daemon', { DOCKER_HOST: 'tcp://h:1' }), '/var/run/docker.sock')
  t.equal(daemonSocket('docker-daemon', { DOCKER_HOST: 'unix:///x' }), '/x')
  t.equal(daemonSocket('podman', {}), '/run/podman/podman.sock')
  const uid = t.intercept(process, 'geteuid', { value: () => 1000 })
  t.equal(daemonSocket('podman', { XDG_RUNTIME_DIR: '/run/user/1000' }), '/run/user/1000/podman/podman.sock')
  uid.restore()
})
