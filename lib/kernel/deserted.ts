import { linkOf, namesIn, ownsSystem } from '../base/index.ts'
import { listMounts } from './registry.ts'

/**
 * Whether only servers, and what keeps them, are left in a mount namespace that a user made for himself (`unshare -Urm`): nobody will
 * see their mounts again, and they would keep the namespace for ever. False in the system's own namespace, in a container, which has
 * a process as long as it is one, and where a mount is in the foreground: whoever waits for it may come in by its process. Throws
 * FLIST_NOT_PERMITTED, FLIST_SYSTEM.
 * Source: namespaces(7), "The lifetime of a namespace".
 */
export function isDeserted(): boolean {
  if (process.geteuid?.() !== 0 || ownsSystem()) return false
  const ours = new Set([process.pid])
  for (const { pid, supervisor, holder } of listMounts()) {
    if (holder === undefined || holder.pid === supervisor?.pid) return false
    for (const one of [pid, holder.pid, supervisor?.pid ?? pid]) ours.add(one)
  }
  const namespace = linkOf('/proc/self/ns/mnt')
  // Those of others cannot be read, and root of a namespace can read all that is in it.
  const processes = namesIn('/proc').filter((name) => /^\d+$/.test(name))
  return processes.every((pid) => ours.has(Number(pid)) || linkOf(`/proc/${pid}/ns/mnt`) !== namespace)
}
