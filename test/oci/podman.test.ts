import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { exportArchive } from '../../lib/index.ts'
import { convertIn, differences, signal } from './convert-it.ts'
import { writeLayout } from './make-image.ts'
import { IMAGES } from './sample-images.ts'

const PREFIX = join(tmpdir(), 'p-')
/** podman takes no longer one for its files of a run. */
const RUN_ROOT_MAX = 50

function withoutPodman(): string | false {
  if (process.getuid?.() !== 0) return 'needs root'
  if (`${PREFIX}XXXXXX/run`.length > RUN_ROOT_MAX) return 'needs a shorter TMPDIR'
  return spawnSync('podman', ['--version'], { stdio: 'ignore' }).status !== 0 && 'needs podman: sh test/setup.sh'
}

const NO_PODMAN = withoutPodman()

t.test(
  "convert() takes images from podman's service, and podman takes what export writes",
  { skip: NO_PODMAN },
  async (t) => {
    // Beside the tests' folder the path would be too long for a socket; and podman, run there, makes names of the layouts' paths.
    const dir = mkdtempSync(PREFIX)
    const env = { PATH: process.env['PATH'] ?? '', HOME: dir, XDG_RUNTIME_DIR: join(dir, 'x'), TMPDIR: join(dir, 'x') }
    mkdirSync(env.XDG_RUNTIME_DIR)
    writeFileSync(join(dir, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}')
    const storage = ['--storage-driver', 'vfs', '--root', join(dir, 'root'), '--runroot', join(dir, 'run')]
    const own = [...storage, '--tmpdir', join(dir, 'x/tmp')]
    const podman = (...words: string[]): string =>
      execFileSync('podman', [...own, ...words], { encoding: 'utf8', cwd: dir, env, timeout: 300_000 }).trim()
    const socket = join(dir, 'sock')
    const log = join(dir, 'log')
    const service = spawn('podman', [...own, 'system', 'service', '--time', '0', `unix://${socket}`], { cwd: dir, env })
    const ended = new Promise((resolve) => service.once('exit', resolve))
    for (const stream of [service.stdout, service.stderr])
      stream.on('data', (piece) => writeFileSync(log, piece, { flag: 'a' }))
    const before = process.env['CONTAINER_HOST']
    process.env['CONTAINER_HOST'] = `unix://${socket}`
    t.teardown(async () => {
      service.kill('SIGTERM')
      await ended
      if (before === undefined) delete process.env['CONTAINER_HOST']
      else process.env['CONTAINER_HOST'] = before
      rmSync(dir, { recursive: true, force: true })
    })
    for (const end = Date.now() + 120_000; !existsSync(socket); await sleep(50)) {
      const isOver = service.exitCode !== null || Date.now() > end
      if (isOver) throw new Error(`podman does not listen: ${existsSync(log) ? readFileSync(log, 'utf8') : 'no word'}`)
    }
    for (const tag of ['one-layer', 'whiteouts', 'attributes']) {
      writeLayout(join(dir, 'layout'), { [tag]: IMAGES[tag] ?? { layers: [] } })
      const id = podman('pull', '--quiet', '--signature-policy', 'policy.json', `oci:layout:${tag}`)
      podman('tag', id, `localhost/app:${tag}`)
      const local = await convertIn(dir, `oci:${dir}/layout:${tag}`, tag)
      for (const name of [`localhost/app:${tag}`, `app:${tag}`]) {
        const made = await convertIn(dir, `podman:${name}`, `podman-${tag}`)
        t.strictSame(await differences(dir, local.path, made.path), [], name)
      }
    }
    await t.rejects(convertIn(dir, 'podman:localhost/absent', 'no'), { code: 'FLIST_NOT_FOUND' })

    const request = { archive: join(dir, 'whiteouts.fl'), cacheDir: join(dir, 'cache'), platform: 'linux/amd64' }
    const image = `docker-archive:${dir}/back.tar:localhost/back:1`
    await exportArchive({ ...request, image }, signal())
    podman('load', '--quiet', '--signature-policy', 'policy.json', '--input', 'back.tar')
    const back = await convertIn(dir, 'podman:localhost/back:1', 'back')
    t.strictSame(await differences(dir, request.archive, back.path), [], 'exported, loaded and converted again')
  },
)
