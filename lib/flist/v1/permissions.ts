import { damaged } from '../damage.ts'
import type { Accounts } from './accounts.ts'
import { MessageError, type MessageReader } from './capnp.ts'
import type { Entries } from './entries.ts'
import { ACI } from './layout.ts'

/** Mode and owner of an entry. */
export interface Permissions {
  /** As stored: 12 bits, or the whole st_mode in archives from before 2020. */
  mode: number
  uid: number
  gid: number
}

/** What 0-fs gives to an entry whose row is missing. */
const MISSING: Permissions = { mode: 0o400, uid: 1000, gid: 1000 }
const NOT_RECORDED = -1n
/** Bytes of a key, from the schema: `key VARCHAR(64)`. */
const KEY_BYTES_MAX = 64

/** ACI messages by key, each read once: an archive has few. */
export class PermissionTable {
  readonly #entries: Entries
  readonly #reader: MessageReader
  readonly #accounts: Accounts
  readonly #known = new Map<string, Permissions>()

  /** `reader` is for this table alone: it is used while another message is being read. */
  constructor(entries: Entries, reader: MessageReader, accounts: Accounts) {
    this.#entries = entries
    this.#reader = reader
    this.#accounts = accounts
  }

  /** Throws FLIST_ARCHIVE_DAMAGED. */
  get(key: string): Permissions {
    let permissions = this.#known.get(key)
    if (permissions === undefined) {
      permissions = this.#read(key)
      this.#known.set(key, permissions)
    }
    return permissions
  }

  #read(key: string): Permissions {
    if (key.length > KEY_BYTES_MAX) throw damaged('this archive', `a key of permissions has ${key.length} bytes`)
    const message = key === '' ? undefined : this.#entries.message(key)
    if (message === undefined) return MISSING
    try {
      return this.#decode(message)
    } catch (error) {
      if (error instanceof MessageError) throw damaged('this archive', `permissions "${key}": ${error.message}`, error)
      throw error
    }
  }

  #decode(message: Uint8Array): Permissions {
    const reader = this.#reader
    reader.load(message)
    if (!reader.followRoot()) throw new MessageError('its root is null')
    const { segment, at, dataBytes, pointers } = reader
    const mode = dataBytes >= ACI.mode + 2 ? reader.u16(at + ACI.mode) : 0
    // Data that is not there is the default; what is there is stored XOR the default.
    const uid = dataBytes >= ACI.uid + 8 ? ~reader.i64(at + ACI.uid) : NOT_RECORDED
    const gid = dataBytes >= ACI.gid + 8 ? ~reader.i64(at + ACI.gid) : NOT_RECORDED
    const name = (slot: number): string => {
      if (slot >= pointers) return ''
      reader.followText(segment, at + dataBytes + 8 * slot)
      return reader.count > KEY_BYTES_MAX ? '' : reader.latin1()
    }
    return {
      mode,
      uid: uid === NOT_RECORDED ? this.#accounts.user(name(ACI.uname)) : checkedId(uid),
      gid: gid === NOT_RECORDED ? this.#accounts.group(name(ACI.gname)) : checkedId(gid),
    }
  }
}

/** An id of 32 bits, also where a writer took it for a signed number. */
function checkedId(id: bigint): number {
  if (id < -(2n ** 31n) || id >= 2n ** 32n) throw new MessageError(`its owner ${id} is no user or group id`)
  return Number(BigInt.asUintN(32, id))
}
