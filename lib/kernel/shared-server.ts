import { linkSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootId, packageVersion, systemCode, textOf } from '../base/index.ts'
import { supervisorName } from './device.ts'
import { isAlive, processNamed } from './processes.ts'
import { type KeyOwner, ownersOfKey } from './registry.ts'
import { cannotWrite, replaceFile } from './replace-file.ts'
import { prepareRuntimeDir, runtimeDir } from './runtime-dir.ts'

/*
 * Which mounts share a server (docs/decisions/160): those whose circumstances are the same, which is all that a server has from
 * the process that it was. The key is a hash of them. `<key>.server` names who serves, or is about to; at `<key>.join` it listens.
 */

/** What is said at `<key>.join`; another version is never met there. */
const PROTOCOL = 1
/** Settings of stores that come from the environment. */
const VARIABLES =
  /^(?:AWS_.*|(?:https?|all|no)_proxy|HOME|XDG_CONFIG_HOME|SSL_CERT_.*|NODE_(?:OPTIONS|EXTRA_CA_CERTS|TLS_.*|USE_.*)|FLISTFS_(?:CA_FILE|NODE))$/i

/** A hash of all that mounts must have in common to share a server. */
export function sharedKey(cacheDir: string): string {
  const environment = Object.entries(process.env)
    .filter(([name]) => VARIABLES.test(name))
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
  const circumstances = [
    PROTOCOL,
    packageVersion(),
    process.argv[1],
    cacheDir,
    [process.geteuid?.(), process.getegid?.(), process.getgroups?.(), capabilities()],
    // Stores are asked from the network that the mount was made in, and folders are those of its tree.
    ['ns/mnt', 'ns/user', 'ns/net', 'ns/pid', 'root'].map((name) => readlinkSync(`/proc/self/${name}`)),
    // A service's processes end with it, and what they use is counted as its own.
    textOf('/proc/self/cgroup'),
    environment,
  ]
  return hashOf(JSON.stringify(circumstances))
}

/** Odd numbers with bits well mixed: what the lanes of the hash start with, and are multiplied by. */
const LANES = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d]

/**
 * 96 bits, in hex digits. Whoever seeks two texts with the same hash will find them, but they are his own mounts, and
 * `node:crypto` would take each start 9 ms.
 */
function hashOf(text: string): string {
  const mixed = LANES.map((lane) => {
    let hash = lane
    for (let at = 0; at < text.length; at += 1) {
      hash = Math.imul(hash ^ text.charCodeAt(at), lane)
      hash ^= hash >>> 15
    }
    return (Math.imul(hash, lane) >>> 0).toString(16).padStart(8, '0')
  })
  return mixed.join('')
}

function capabilities(): string {
  return /^CapEff:\s*(\w+)$/m.exec(textOf('/proc/self/status'))?.[1] ?? ''
}

export function joinSocketPath(key: string): string {
  return join(runtimeDir(), `${key}.join`)
}

/** True where this process has the key now; false where another that lives has it. Throws FLIST_SYSTEM. */
export function claimServer(key: string): boolean {
  const path = join(prepareRuntimeDir(), `${key}.server`)
  const boot = bootId()
  const parent = supervisorName()
  const self = [processNamed(process.pid), parent].flatMap((one): KeyOwner[] =>
    one === undefined ? [] : [{ ...one, boot }],
  )
  // A supervisor that still lives brings a server back, which may be this one.
  if (ownersOfKey(path).some(({ pid }) => pid === process.pid || pid === parent?.pid)) {
    replaceFile(path, JSON.stringify(self))
    return true
  }
  return claimNew(path, JSON.stringify(self))
}

function claimNew(path: string, self: string): boolean {
  const temp = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(temp, self, { mode: 0o600 })
    for (let tries = 0; tries < 3; tries += 1) {
      if (tryLink(temp, path)) return true
      if (ownersOfKey(path).some(isAlive)) return false
      // Two that see this at once end with two servers, of which one is found.
      rmSync(path, { force: true })
    }
    return false
  } catch (cause) {
    throw cannotWrite(path, cause)
  } finally {
    rmSync(temp, { force: true })
  }
}

/** Gives the key back, where this process has it. Idempotent. */
export function releaseServer(key: string): void {
  const path = join(runtimeDir(), `${key}.server`)
  if (ownersOfKey(path)[0]?.pid !== process.pid) return
  rmSync(joinSocketPath(key), { force: true })
  rmSync(path, { force: true })
}

function tryLink(temp: string, path: string): boolean {
  try {
    linkSync(temp, path)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}
