import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Why buildah cannot be compared with here, or false. `test/setup.sh` installs it. */
export const NO_BUILDAH: string | false =
  process.getuid?.() !== 0
    ? 'needs root'
    : spawnSync('buildah', ['--version'], { stdio: 'ignore' }).status !== 0 && 'needs buildah: sh test/setup.sh'

/**
 * buildah with all of it in `DIR/buildah`: a plain copy of the tree for each layer (`vfs`), no daemon, no network. It runs in DIR and is
 * told paths from there: it makes a name of an image of the path, and takes none with a capital or a dot.
 */
export class Buildah {
  readonly #dir: string
  readonly #own: string
  readonly #mounted: string[] = []

  constructor(dir: string) {
    this.#dir = dir
    this.#own = join(dir, 'buildah')
    mkdirSync(join(this.#own, 'tmp'), { recursive: true })
    writeFileSync(this.policy, '{"default":[{"type":"insecureAcceptAnything"}]}')
  }

  /** The file that lets it take images without signatures. */
  get policy(): string {
    return join(this.#own, 'policy.json')
  }

  /** Gives what it printed; its complaint is in the error. */
  run(command: string, ...words: string[]): string {
    const storage = ['--storage-driver', 'vfs', '--root', join(this.#own, 'root'), '--runroot', join(this.#own, 'run')]
    const { PATH = '' } = process.env
    return execFileSync('buildah', [...storage, command, ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 600_000,
      cwd: this.#dir,
      env: { PATH, HOME: this.#own, TMPDIR: join(this.#own, 'tmp'), BUILDAH_ISOLATION: 'chroot' },
    }).trim()
  }

  /** The folder with what it makes of an image. */
  unpacked(image: string): string {
    const container = this.run('from', '--signature-policy', this.policy, image)
    this.#mounted.push(container)
    return this.run('mount', container)
  }

  /** Unmounts, and removes all that it has kept. Idempotent. */
  close(): void {
    for (const container of this.#mounted.splice(0)) this.run('umount', container)
    rmSync(this.#own, { recursive: true, force: true })
  }
}
