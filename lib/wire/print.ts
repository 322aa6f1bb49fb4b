import { displayBytes } from '../base/index.ts'
import { IN_HEADER } from './layout.ts'
import { opcodeInfo } from './opcodes.ts'

/** One line for a request, for logs and tests: `LOOKUP unique=2 node=1 pid=77 "etc"`. Never throws. */
export function describeRequest(frame: Buffer): string {
  if (frame.length < IN_HEADER.size) return `short frame of ${frame.length} bytes`
  const opcode = frame.readUInt32LE(IN_HEADER.opcode)
  const info = opcodeInfo(opcode)
  const head =
    `${info?.name ?? `opcode ${opcode}`} unique=${frame.readBigUInt64LE(IN_HEADER.unique)}` +
    ` node=${frame.readBigUInt64LE(IN_HEADER.nodeid)} pid=${frame.readUInt32LE(IN_HEADER.pid)}`
  if (info === undefined || info.names === 0) return head
  const names = frame.subarray(IN_HEADER.size + info.bodyBytes)
  const end = names.indexOf(0)
  return `${head} "${displayBytes(end < 0 ? names : names.subarray(0, end))}"`
}
