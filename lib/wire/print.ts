import { displayBytes, errnoName } from '../base/index.ts'
import { IN_HEADER, INTERRUPT_IN, OPEN_IN, READ_IN } from './layout.ts'
import { OPCODE, opcodeInfo } from './opcodes.ts'

/** One line for a request, for logs and tests: `LOOKUP unique=2 node=1 pid=77 "etc"`. Never throws. */
export function describeRequest(frame: Buffer): string {
  if (frame.length < IN_HEADER.size) return `short frame of ${frame.length} bytes`
  const opcode = frame.readUInt32LE(IN_HEADER.opcode)
  const info = opcodeInfo(opcode)
  const head =
    `${info?.name ?? `opcode ${opcode}`} unique=${frame.readBigUInt64LE(IN_HEADER.unique)}` +
    ` node=${frame.readBigUInt64LE(IN_HEADER.nodeid)} pid=${frame.readUInt32LE(IN_HEADER.pid)}`
  if (info === undefined || frame.length < IN_HEADER.size + info.bodyBytes) return head
  if (info.names === 0) return head + bodyOf(opcode, frame)
  const names = frame.subarray(IN_HEADER.size + info.bodyBytes)
  const end = names.indexOf(0)
  return `${head} "${displayBytes(end < 0 ? names : names.subarray(0, end))}"`
}

/** What the fixed part of a body says that helps to understand a trace. */
function bodyOf(opcode: number, frame: Buffer): string {
  const at = IN_HEADER.size
  switch (opcode) {
    case OPCODE.read:
    case OPCODE.readdir:
    case OPCODE.readdirplus:
      return ` offset=${frame.readBigUInt64LE(at + READ_IN.offset)} size=${frame.readUInt32LE(at + READ_IN.bytes)}`
    case OPCODE.open:
    case OPCODE.opendir:
      return ` flags=0x${frame.readUInt32LE(at + OPEN_IN.flags).toString(16)}`
    case OPCODE.interrupt:
      return ` of=${frame.readBigUInt64LE(at + INTERRUPT_IN.unique)}`
    default:
      return ''
  }
}

/** One line for a reply: `LOOKUP unique=2 ok bytes=128 us=14`, or the errno's name instead of `ok`. `bytes` are the body's. */
export function describeReply(
  opcode: number,
  lo: number,
  hi: number,
  errno: number,
  bytes: number,
  us: number,
): string {
  const name = opcodeInfo(opcode)?.name ?? `opcode ${opcode}`
  const unique = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
  return `${name} unique=${unique} ${errno === 0 ? 'ok' : errnoName(errno)} bytes=${bytes} us=${Math.round(us)}`
}
