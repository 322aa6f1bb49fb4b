import {
  GETXATTR_IN,
  IN_HEADER,
  INTERRUPT_IN,
  OPCODE,
  OPEN_IN,
  opcodeInfo,
  READ_IN,
  RELEASE_IN,
} from '../../lib/wire/index.ts'
import { INIT_IN } from '../../lib/wire/layout.ts'
import type { Field } from './hex.ts'

/** Layouts of fixed parts that `lib/wire` names; the others are shown as words. */
const BODY: Readonly<Record<number, Readonly<Record<string, number>>>> = {
  [OPCODE.init]: { ...INIT_IN, unused: INIT_IN.flags2 + 4 },
  [OPCODE.open]: OPEN_IN,
  [OPCODE.opendir]: OPEN_IN,
  [OPCODE.read]: READ_IN,
  [OPCODE.readdir]: READ_IN,
  [OPCODE.readdirplus]: READ_IN,
  [OPCODE.release]: RELEASE_IN,
  [OPCODE.releasedir]: RELEASE_IN,
  [OPCODE.getxattr]: GETXATTR_IN,
  [OPCODE.listxattr]: GETXATTR_IN,
  [OPCODE.interrupt]: INTERRUPT_IN,
}

/** A request cut into its fields by the tables of `lib/wire`. */
export function fieldsOf(frame: Buffer): Field[] {
  const opcode = frame.readUInt32LE(IN_HEADER.opcode)
  const info = opcodeInfo(opcode)
  if (info === undefined) throw new RangeError(`opcode ${opcode}`)
  const fields = cut(frame.subarray(0, IN_HEADER.size), IN_HEADER)
  const note = fields[1]
  if (note !== undefined) fields[1] = { ...note, note: `opcode ${opcode} ${info.name}` }
  // Kernels before 7.36 send less of INIT: its fixed part is what all send.
  const bodyEnd = opcode === OPCODE.init ? frame.length : Math.min(IN_HEADER.size + info.bodyBytes, frame.length)
  const body = frame.subarray(IN_HEADER.size, bodyEnd)
  const layout = BODY[opcode]
  fields.push(...(layout === undefined ? words(body, 'body') : cut(body, layout)))
  let at = bodyEnd
  for (let nth = 0; nth < info.names; nth += 1) {
    const end = frame.indexOf(0, at) + 1
    if (end === 0) break
    fields.push({ bytes: frame.subarray(at, end), note: `name "${frame.toString('latin1', at, end - 1)}" and NUL` })
    at = end
  }
  fields.push(...words(frame.subarray(at), 'more'))
  return fields
}

/** The same request cut short: in a name that we read, or else by the last byte of its fixed part. */
export function shortened(frame: Buffer, fields: readonly Field[]): Field[] | undefined {
  const info = opcodeInfo(frame.readUInt32LE(IN_HEADER.opcode))
  if (info === undefined || (info.bodyBytes === 0 && info.names === 0)) return undefined
  const wanted = IN_HEADER.size + info.bodyBytes
  const inName = info.names > 0 && (!info.writes || info.bodyBytes === 0)
  let room = inName ? frame.indexOf(0, wanted) : wanted - 1
  const out: Field[] = []
  for (const { bytes, note } of fields) {
    if (room <= 0) break
    const whole = bytes.length <= room
    out.push({ bytes: bytes.subarray(0, room), note: whole ? note : `${note}, cut` })
    room -= bytes.length
  }
  return out
}

function cut(bytes: Buffer, layout: Readonly<Record<string, number>>): Field[] {
  const places = Object.entries(layout)
    .filter(([name]) => name !== 'size' && name !== 'sizeMin')
    .sort(([, a], [, b]) => a - b)
  return places.map(([name, from], nth) => {
    const field = bytes.subarray(from, places[nth + 1]?.[1] ?? bytes.length)
    return { bytes: field, note: `${name} ${valueOf(field)}` }
  })
}

function words(bytes: Buffer, name: string): Field[] {
  const out: Field[] = []
  for (let at = 0; at < bytes.length; at += 4) {
    const field = bytes.subarray(at, at + 4)
    out.push({ bytes: field, note: `${name} +${at}: ${valueOf(field)}` })
  }
  return out
}

function valueOf(field: Buffer): string {
  if (field.length === 8) return String(field.readBigUInt64LE())
  return field.length <= 6 ? String(field.readUIntLE(0, field.length)) : `${field.length} bytes`
}
