import type { Expected } from '../vfs/sample-archive.ts'

/*
 * Bodies of replies written out from `include/uapi/linux/fuse.h`, field after field, with nothing of `lib`: what the
 * answers to the fixtures must be.
 */

const FOREVER = 0x7fff_ffffn

type Piece = readonly [bytes: 2 | 4 | 8, value: number | bigint]

export function pack(...pieces: readonly (Piece | Buffer)[]): Buffer {
  return Buffer.concat(
    pieces.map((piece) => {
      if (Buffer.isBuffer(piece)) return piece
      const [bytes, value] = piece
      const out = Buffer.alloc(8)
      out.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)))
      return out.subarray(0, bytes)
    }),
  )
}

const u32 = (value: number): Piece => [4, value]
const u64 = (value: number | bigint): Piece => [8, value]

/** One entry of the tree with what its place in it decides. */
export interface Node {
  readonly entry: Expected
  readonly node: bigint
  readonly nlink: number
}

/** `struct fuse_attr`. */
export function attr({ entry, node, nlink }: Node): Buffer {
  const size = entry.content?.length ?? entry.target?.length ?? 4096
  const { mtime, ctime, mtimeNs, ctimeNs, mode, uid, gid, rdev } = entry
  return pack(
    ...[node, size, Math.ceil(size / 512), mtime, mtime, ctime].map(u64),
    ...[mtimeNs, mtimeNs, ctimeNs, mode, nlink, uid, gid, rdev, 4096, 0].map(u32),
  )
}

/** `struct fuse_entry_out`. */
export function entryOut(node: Node, generation: number): Buffer {
  return pack(u64(node.node), u64(generation), u64(FOREVER), u64(FOREVER), u32(0), u32(0), attr(node))
}

/** `struct fuse_attr_out`. */
export function attrOut(node: Node): Buffer {
  return pack(u64(FOREVER), u32(0), u32(0), attr(node))
}

/** `struct fuse_dirent` and its name, padded. */
export function dirent(ino: bigint, off: number, name: Buffer, mode: number): Buffer {
  const pad = Buffer.alloc((8 - (name.length % 8)) % 8)
  return pack(u64(ino), u64(off), u32(name.length), u32(mode >> 12), name, pad)
}

/** `struct fuse_kstatfs`: blocks, bfree, bavail, files, ffree; bsize, namelen, frsize, padding, spare[6]. */
export function kstatfs(bytes: number, files: number): Buffer {
  const counts = [Math.ceil(bytes / 4096), 0, 0, files, 0].map(u64)
  return pack(...counts, u32(4096), u32(255), u32(4096), u32(0), Buffer.alloc(24))
}

/** `struct fuse_init_out`. */
export function initOut(minor: number, flags: number, flags2: number, background: number): Buffer {
  return pack(
    ...[7, minor, 1024 * 1024, flags].map(u32),
    [2, background],
    [2, (background / 4) * 3],
    ...[1024 * 1024, 1].map(u32),
    [2, 256],
    [2, 0],
    u32(flags2),
    u32(0),
    [2, 0],
    Buffer.alloc(22),
  )
}
