export {
  ATTR,
  ATTR_OUT,
  BACKING_MAP,
  DIRENT,
  DIRENTPLUS,
  ENTRY_OUT,
  FOPEN,
  FUSE_MAJOR,
  FUSE_MINOR_MIN,
  GETXATTR_IN,
  GETXATTR_OUT,
  IN_HEADER,
  INIT_FLAG,
  INIT_FLAG2,
  INIT_OUT,
  INTERRUPT_IN,
  NOTIFY,
  OPEN_IN,
  OPEN_OUT,
  OUT_HEADER,
  READ_IN,
  RELEASE_IN,
  STATFS_OUT,
} from './layout.ts'
export { OPCODE, OPCODE_COUNT, OPCODE_INFO, opcodeInfo } from './opcodes.ts'
export type { OpcodeInfo, OpcodeName } from './opcodes.ts'
export {
  direntBytes,
  FOREVER_S,
  makeWords,
  wordsOver,
  putAttr,
  putAttrOut,
  putDirent,
  putEntry,
  putEntryHead,
  putOutHeader,
} from './put.ts'
export type { AttrSource, Words } from './put.ts'
export { agree, readInit, writeInit } from './init.ts'
export type { InitAgreement, InitOffer, InitWish } from './init.ts'
export { describeReply, describeRequest } from './print.ts'
