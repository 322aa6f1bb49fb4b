import { createWriteStream } from 'node:fs'
import { request } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { FlistError, LIMITS, systemCode, xdgFolder } from '../base/index.ts'
import { cannotSpool } from './registry/spool.ts'

/** These are of the file that is written, others of the socket. */
const DISK_CODES = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EFBIG', 'EROFS', 'EACCES'])
const DOCKER_SOCKET = '/var/run/docker.sock'

/** Where the daemon listens: DOCKER_HOST or CONTAINER_HOST where they name a socket, else the usual place. */
export function daemonSocket(transport: 'docker-daemon' | 'podman', env: NodeJS.ProcessEnv = process.env): string {
  const named = /^unix:\/\/(.+)$/.exec(env[transport === 'podman' ? 'CONTAINER_HOST' : 'DOCKER_HOST'] ?? '')?.[1]
  if (named !== undefined) return named
  if (transport === 'docker-daemon') return DOCKER_SOCKET
  const runtime = xdgFolder('XDG_RUNTIME_DIR', env)
  if (process.geteuid?.() === 0 || runtime === undefined) return '/run/podman/podman.sock'
  return `${runtime}/podman/podman.sock`
}

/** Has the daemon save an image into `path`, as `docker save` does; podman answers the same. Throws FLIST_NOT_FOUND, FLIST_STORE_*. */
export async function saveFromDaemon(
  socketPath: string,
  image: string,
  path: string,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const no = (code: 'FLIST_NOT_FOUND' | 'FLIST_STORE_UNREACHABLE', why: string, hint: string): FlistError =>
    new FlistError(code, `Cannot have "${image}" from the daemon at "${socketPath}": ${why}`, { hint })
  const options = {
    socketPath,
    path: `/images/${encodeURIComponent(image)}/get`,
    timeout: LIMITS.registryTimeoutMs,
    signal,
  }
  await new Promise<void>((resolve, reject) => {
    const asked = request(options, (answer) => {
      if (answer.statusCode !== 200) {
        answer.destroy()
        const why = `it answered with status ${answer.statusCode}`
        reject(
          answer.statusCode === 404
            ? no(
                'FLIST_NOT_FOUND',
                'it has no such image',
                'Pull it, or leave out the word before the colon to have it from its registry',
              )
            : no('FLIST_STORE_UNREACHABLE', why, 'Look at what the daemon logs'),
        )
        return
      }
      let bytes = 0
      answer.on('data', (piece: Buffer) => onBytes((bytes += piece.length)))
      pipeline(answer, createWriteStream(path), { signal }).then(resolve, (error: unknown) => {
        const code = systemCode(error)
        if (signal.aborted || error instanceof FlistError) reject(error)
        else if (DISK_CODES.has(code)) reject(cannotSpool(path, error))
        else reject(no('FLIST_STORE_UNREACHABLE', `its answer broke off (${code})`, 'Look at what the daemon logs'))
      })
    })
    asked.on('timeout', () =>
      asked.destroy(no('FLIST_STORE_UNREACHABLE', 'no answer in time', 'Look at what the daemon logs')),
    )
    asked.on('error', (error) => {
      if (signal.aborted || error instanceof FlistError) reject(error)
      else
        reject(
          no(
            'FLIST_STORE_UNREACHABLE',
            systemCode(error) || error.message,
            'Start the daemon, or name the image at its registry',
          ),
        )
    })
    asked.end()
  })
}
