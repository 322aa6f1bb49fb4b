/**
 * Structs of schema 0xae9223e76351538a (0-flist `format/flist.capnp`): numbers are byte offsets in the data section, pointers are
 * slots. A section may be shorter than here: what is missing has its default, 0 or null where nothing else is said.
 */
export const DIR = {
  size: 0 /* u64 */,
  modified: 8 /* u32, seconds */,
  created: 12 /* u32, seconds: st_ctime */,
  name: 0 /* pointer, Text */,
  location: 1 /* pointer, Text: the path, without a slash at its ends */,
  contents: 2 /* pointer, List(Inode) */,
  parent: 3 /* pointer, Text: a key */,
  aclKey: 4 /* pointer, Text */,
} as const

export const INODE = {
  size: 0 /* u64 */,
  tag: 8 /* u16, ATTRIBUTES */,
  modified: 12 /* u32, seconds */,
  created: 16 /* u32, seconds: st_ctime */,
  name: 0 /* pointer, Text */,
  attributes: 1 /* pointer, a struct by tag */,
  aclKey: 2 /* pointer, Text */,
} as const

/** What `Inode.attributes` is. */
export const ATTRIBUTES = { dir: 0, file: 1, link: 2, special: 3 } as const

export const SUB_DIR = { key: 0 /* pointer, Text */ } as const
export const LINK = { target: 0 /* pointer, Text */ } as const
export const FILE = { blockSize: 0 /* u16, units of 4096 bytes */, blocks: 0 /* pointer, List(FileBlock) */ } as const
export const FILE_BLOCK = { hash: 0 /* pointer, Data */, key: 1 /* pointer, Data */ } as const
export const SPECIAL = { type: 0 /* u16, SPECIAL_TYPE */, data: 0 /* pointer, Data */ } as const
export const SPECIAL_TYPE = { socket: 0, block: 1, character: 2, fifo: 3, unknown: 4 } as const

export const ACI = {
  mode: 0 /* u16 */,
  uid: 8 /* i64, default -1: stored XOR -1 */,
  gid: 16 /* i64, default -1: stored XOR -1 */,
  uname: 0 /* pointer, Text */,
  gname: 1 /* pointer, Text */,
} as const

/** What a writer makes of them: words of data, and pointers. */
export const STRUCTS = {
  dir: { data: 2, pointers: 5 },
  inode: { data: 3, pointers: 3 },
  file: { data: 1, pointers: 1 },
  fileBlock: { data: 0, pointers: 2 },
  special: { data: 1, pointers: 1 },
  aci: { data: 3, pointers: 3 },
} as const

/** Key of the root's Dir: BLAKE2b-128 of nothing, in hex. */
export const ROOT_KEY = 'cae66941d9efbd404e4d88758ea67670'
/** Bytes of a block's hash and of its key: BLAKE2b-128. */
export const HASH_BYTES = 16
/** `File.blockSize` of every writer: 512 KiB. */
export const BLOCK_SIZE_UNITS = 128
