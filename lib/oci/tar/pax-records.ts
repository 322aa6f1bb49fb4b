import { imageDamaged } from '../image-error.ts'
import { aclValue } from './acl-text.ts'
import type { SparseRange, TarXattr } from './tar-entry.ts'

/** What the records of one pax header say. A value that is empty takes a record back. */
export interface PaxRecords {
  path?: Buffer
  target?: Buffer
  size?: number
  uid?: number
  gid?: number
  mtime?: { seconds: number; ns: number }
  xattrs: Map<string, TarXattr>
  sparse: PaxSparse
}

/** The records of GNU tar's sparse formats 0.0, 0.1 and 1.0. */
export interface PaxSparse {
  major?: number
  minor?: number
  name?: Buffer
  size?: number
  /** 0.0 and 0.1. */
  ranges?: SparseRange[]
  /** 0.0: the offset whose size comes next. */
  offset?: number
  count?: number
}

const SCHILY_XATTR = 'SCHILY.xattr.'
const LIBARCHIVE_XATTR = 'LIBARCHIVE.xattr.'
const SCHILY_ACL = 'SCHILY.acl.'
/** Of owner, group and others. */
const MODE_ACL_BYTES = 4 + 3 * 8
const NEWLINE = 0x0a
const EQUALS = 0x3d
const BLANK = 0x20

export function noRecords(): PaxRecords {
  return { xattrs: new Map(), sparse: {} }
}

/**
 * Adds the records of one extended header, POSIX.1-2001 `pax`: "LENGTH KEY=VALUE\n", LENGTH counting the whole. Later records win.
 * Throws FLIST_IMAGE_DAMAGED.
 */
export function addPaxRecords(records: PaxRecords, bytes: Buffer, where: string): void {
  for (let at = 0; at < bytes.length;) {
    const blank = bytes.indexOf(BLANK, at)
    const length = blank < 0 ? Number.NaN : decimal(bytes.toString('latin1', at, blank))
    const end = at + length
    if (!(length > blank - at + 2) || end > bytes.length || bytes[end - 1] !== NEWLINE) {
      throw imageDamaged(where, 'a pax header of its tar is torn')
    }
    const equals = bytes.indexOf(EQUALS, blank + 1)
    if (equals < 0 || equals >= end - 1) throw imageDamaged(where, 'a record in a pax header of its tar has no value')
    addRecord(records, bytes.subarray(blank + 1, equals), bytes.subarray(equals + 1, end - 1), where)
    at = end
  }
}

function addRecord(records: PaxRecords, key: Buffer, value: Buffer, where: string): void {
  const name = key.toString('latin1')
  const apply = Object.hasOwn(RECORDS, name) ? RECORDS[name] : undefined
  if (apply !== undefined) {
    apply(records, value, where)
  } else if (name.startsWith(SCHILY_XATTR)) {
    setXattr(records, name.slice(SCHILY_XATTR.length), Buffer.from(value))
  } else if (name.startsWith(SCHILY_ACL)) {
    // The attribute itself says more exactly what it is, and the three entries of every file are its mode.
    const attribute = `system.posix_acl_${name.slice(SCHILY_ACL.length)}`
    const acl = aclValue(value.toString('latin1'))
    const isMode = acl?.length === MODE_ACL_BYTES && name.endsWith('access')
    if (acl !== undefined && !isMode && !records.xattrs.has(attribute)) setXattr(records, attribute, acl)
  } else if (name.startsWith(LIBARCHIVE_XATTR)) {
    // libarchive escapes the name as in URLs; its values are base64, mostly without padding.
    const plain = name.slice(LIBARCHIVE_XATTR.length).replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => {
      return String.fromCharCode(Number.parseInt(hex, 16))
    })
    if (!records.xattrs.has(plain)) setXattr(records, plain, Buffer.from(value.toString('latin1'), 'base64'))
  }
}

function setXattr(records: PaxRecords, name: string, value: Buffer): void {
  records.xattrs.set(name, { name: Buffer.from(name, 'latin1'), value })
}

type Apply = (records: PaxRecords, value: Buffer, where: string) => void

/** Every key that means something here; others are comments to us. */
const RECORDS: Readonly<Record<string, Apply>> = {
  path: (records, value, where) => {
    if (isName(value, where)) records.path = value
    else delete records.path
  },
  linkpath: (records, value, where) => {
    if (isName(value, where)) records.target = value
    else delete records.target
  },
  size: whole('size'),
  uid: whole('uid'),
  gid: whole('gid'),
  mtime: (records, value, where) => {
    if (value.length === 0) delete records.mtime
    else records.mtime = paxTime(value.toString('latin1'), where)
  },
  'GNU.sparse.major': (records, value, where) => void (records.sparse.major = wholeNumber(value, where)),
  'GNU.sparse.minor': (records, value, where) => void (records.sparse.minor = wholeNumber(value, where)),
  'GNU.sparse.name': (records, value, where) => {
    if (isName(value, where)) records.sparse.name = value
  },
  'GNU.sparse.size': (records, value, where) => void (records.sparse.size = wholeNumber(value, where)),
  'GNU.sparse.realsize': (records, value, where) => void (records.sparse.size = wholeNumber(value, where)),
  'GNU.sparse.numblocks': (records, value, where) => void (records.sparse.count = wholeNumber(value, where)),
  'GNU.sparse.offset': (records, value, where) => {
    if (records.sparse.offset !== undefined) throw imageDamaged(where, SPARSE_TORN)
    records.sparse.offset = wholeNumber(value, where)
  },
  'GNU.sparse.numbytes': ({ sparse }, value, where) => {
    if (sparse.offset === undefined) throw imageDamaged(where, SPARSE_TORN)
    ;(sparse.ranges ??= []).push({ offset: sparse.offset, size: wholeNumber(value, where) })
    delete sparse.offset
  },
  'GNU.sparse.map': ({ sparse }, value, where) => {
    const numbers =
      value.length === 0
        ? []
        : value
            .toString('latin1')
            .split(',')
            .map((text) => checked(text, where))
    if (numbers.length % 2 !== 0) throw imageDamaged(where, SPARSE_TORN)
    sparse.ranges = []
    for (let at = 0; at < numbers.length; at += 2) {
      sparse.ranges.push({ offset: numbers[at] ?? 0, size: numbers[at + 1] ?? 0 })
    }
  },
}

const SPARSE_TORN = 'the map of a sparse file in its tar is torn'

function whole(field: 'size' | 'uid' | 'gid'): Apply {
  return (records, value, where) => {
    if (value.length === 0) delete records[field]
    else records[field] = wholeNumber(value, where)
  }
}

function isName(value: Buffer, where: string): boolean {
  if (value.includes(0)) throw imageDamaged(where, 'a name in a pax header of its tar has a NUL')
  return value.length > 0
}

function wholeNumber(value: Buffer, where: string): number {
  return checked(value.toString('latin1'), where)
}

function checked(text: string, where: string): number {
  const number = decimal(text)
  if (Number.isNaN(number)) throw imageDamaged(where, 'a number in a pax header of its tar is none')
  return number
}

/** NaN where it is no number below 2^53. */
export function decimal(text: string): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(number) ? number : Number.NaN
}

/** "-1.5" is second -2 and half a second more. Digits beyond the ninth are cut off. */
export function paxTime(text: string, where: string): { seconds: number; ns: number } {
  const [, sign, digits = '', fraction = ''] = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text) ?? []
  if (sign === undefined) throw imageDamaged(where, 'a time in a pax header of its tar is none')
  const seconds = Number(digits)
  const ns = Number(fraction.slice(0, 9).padEnd(9, '0'))
  if (sign === '') return { seconds, ns }
  return ns === 0 ? { seconds: seconds === 0 ? 0 : -seconds, ns } : { seconds: -seconds - 1, ns: 1_000_000_000 - ns }
}
