import { LIMITS } from '../base/index.ts'
import { FUSE_MAJOR, FUSE_MINOR, INIT_FLAG, INIT_FLAG2, INIT_IN, INIT_OUT } from './layout.ts'

/** What the kernel offers in INIT. */
export interface InitOffer {
  readonly major: number
  readonly minor: number
  readonly maxReadahead: number
  readonly flags: number
  readonly flags2: number
}

/** What we want of it. */
export interface InitWish {
  readonly posixAcl: boolean
  readonly passthrough: boolean
  /** Needs `default_permissions`; without it ALLOW_IDMAP kills the mount. */
  readonly idmap: boolean
}

/** What both agreed on. */
export interface InitAgreement {
  readonly minor: number
  readonly flags: number
  readonly flags2: number
}

/** Reads INIT's body, which starts at `at`. Kernels without INIT_EXT send no second flag word. */
export function readInit(frame: Buffer, at: number, length: number): InitOffer {
  const flags = frame.readUInt32LE(at + INIT_IN.flags)
  const extended = (flags & INIT_FLAG.initExt) !== 0 && length >= INIT_IN.flags2 + 4
  return {
    major: frame.readUInt32LE(at + INIT_IN.major),
    minor: frame.readUInt32LE(at + INIT_IN.minor),
    maxReadahead: frame.readUInt32LE(at + INIT_IN.maxReadahead),
    flags,
    flags2: extended ? frame.readUInt32LE(at + INIT_IN.flags2) : 0,
  }
}

const WANTED =
  INIT_FLAG.asyncRead |
  INIT_FLAG.exportSupport |
  INIT_FLAG.doReaddirplus |
  INIT_FLAG.noOpenSupport |
  INIT_FLAG.parallelDirops |
  INIT_FLAG.abortError |
  INIT_FLAG.maxPages |
  INIT_FLAG.cacheSymlinks |
  INIT_FLAG.noOpendirSupport |
  INIT_FLAG.initExt

/** The flags that both sides want. */
export function agree(offer: InitOffer, wish: InitWish): InitAgreement {
  let flags: number = WANTED
  if (wish.posixAcl) flags |= INIT_FLAG.posixAcl
  let flags2: number = INIT_FLAG2.hasResend
  if (wish.passthrough) flags2 |= INIT_FLAG2.passthrough
  if (wish.idmap) flags2 |= INIT_FLAG2.allowIdmap
  return { minor: Math.min(offer.minor, FUSE_MINOR), flags: offer.flags & flags, flags2: offer.flags2 & flags2 }
}

/** INIT's reply, 64 bytes. */
export function writeInit(offer: InitOffer, agreed: InitAgreement): Buffer {
  const body = Buffer.alloc(INIT_OUT.size)
  body.writeUInt32LE(FUSE_MAJOR, INIT_OUT.major)
  body.writeUInt32LE(agreed.minor, INIT_OUT.minor)
  body.writeUInt32LE(LIMITS.readBytesMax, INIT_OUT.maxReadahead)
  body.writeUInt32LE(agreed.flags, INIT_OUT.flags)
  // Few slots let stalled readers use up what a cached read needs: with 64, an 8 MiB cached read starved.
  body.writeUInt16LE(LIMITS.backgroundRequestsMax, INIT_OUT.maxBackground)
  body.writeUInt16LE((LIMITS.backgroundRequestsMax / 4) * 3, INIT_OUT.congestionThreshold)
  body.writeUInt32LE(LIMITS.readBytesMax, INIT_OUT.maxWrite)
  body.writeUInt32LE(1, INIT_OUT.timeGran)
  body.writeUInt16LE(LIMITS.readBytesMax / 4096, INIT_OUT.maxPages)
  body.writeUInt32LE(agreed.flags2, INIT_OUT.flags2)
  body.writeUInt32LE((agreed.flags2 & INIT_FLAG2.passthrough) === 0 ? 0 : 1, INIT_OUT.maxStackDepth)
  return body
}
