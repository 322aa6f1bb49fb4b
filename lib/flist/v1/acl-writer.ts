import { ACI, STRUCTS } from './layout.ts'
import { MessageBuilder } from './message-builder.ts'

const WORD = 8
/** What is stored is XOR the default, which is -1. */
const DEFAULT_ID = -1n

/** Names of users and groups, or undefined where one has none. */
export interface AccountNames {
  user(id: number): string | undefined
  group(id: number): string | undefined
}

/** ACI messages, one for each different set of permissions: flist-v1.md sections 3.2 and 5.5. */
export class AclWriter {
  readonly #names: AccountNames
  /** BLAKE2b-64 in hex. */
  readonly #hash: (text: Buffer) => string
  readonly #keys = new Map<string, string>()
  readonly #messages = new Map<string, Buffer>()
  readonly #builder = new MessageBuilder()

  constructor(names: AccountNames, hash: (text: Buffer) => string) {
    this.#names = names
    this.#hash = hash
  }

  /** `mode`: the 12 bits of permissions. */
  key(mode: number, uid: number, gid: number): string {
    const seen = `${mode}.${uid}.${gid}`
    let key = this.#keys.get(seen)
    if (key === undefined) this.#keys.set(seen, (key = this.#make(mode, uid, gid)))
    return key
  }

  /** By key, in the order of the keys. */
  *messages(): Generator<[string, Buffer]> {
    for (const key of [...this.#messages.keys()].sort()) {
      const message = this.#messages.get(key)
      if (message !== undefined) yield [key, message]
    }
  }

  #make(mode: number, uid: number, gid: number): string {
    const uname = this.#names.user(uid) ?? String(uid | 0)
    const gname = this.#names.group(gid) ?? String(gid | 0)
    const text = `user:${uname}\ngroup:${gname}\nmode:0o${mode.toString(8)}\nuid:${uid}\ngid:${gid}`
    const key = this.#hash(Buffer.from(text, 'latin1'))
    const builder = this.#builder
    const aci = builder.begin(STRUCTS.aci.data, STRUCTS.aci.pointers)
    const pointers = aci + STRUCTS.aci.data * WORD
    builder.u16(aci + ACI.mode, mode)
    builder.i64(aci + ACI.uid, BigInt(uid) ^ DEFAULT_ID)
    builder.i64(aci + ACI.gid, BigInt(gid) ^ DEFAULT_ID)
    builder.text(pointers + WORD * ACI.uname, Buffer.from(uname, 'latin1'))
    builder.text(pointers + WORD * ACI.gname, Buffer.from(gname, 'latin1'))
    this.#messages.set(key, Buffer.from(builder.end()))
    return key
  }
}
