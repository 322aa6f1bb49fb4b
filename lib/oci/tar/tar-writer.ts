import { aclText } from './acl-text.ts'
import { sparseMapBytes } from './sparse-map.ts'
import type { TarEntry } from './tar-entry.ts'
import { TAR_BLOCK_BYTES, TAR_FIELD, USTAR_MAGIC } from './tar-header.ts'

const TYPE_FLAGS: Readonly<Record<TarEntry['type'], string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
}
/** What fits into 7 and 11 octal digits. */
const ID_MAX = 0o7777777
const LONG_MAX = 0o77777777777
const SLASH = 0x2f
const NOTHING = Buffer.alloc(0)

/** The two empty blocks that end a tar. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK_BYTES)

/** Zeros behind so many bytes of data. */
export function tarPadding(bytes: number): Buffer {
  return TAR_END.subarray(0, (TAR_BLOCK_BYTES - (bytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES)
}

/** Bytes of a file's data that follow its header. */
export function tarDataBytes({ type, size, sparse }: TarEntry): number {
  if (type !== 'file') return 0
  return sparse === undefined ? size : sparse.reduce((sum, range) => sum + range.size, 0)
}

/**
 * The header blocks of an entry: ustar, with a pax header before it for what does not fit, and the map of a sparse file behind it (GNU's
 * format 1.0: only the ranges' bytes follow). Depends on nothing but the entry.
 */
export function tarHeader(entry: TarEntry): Buffer {
  const { type, uid, gid, mtime, mtimeNs, target, xattrs, sparse } = entry
  const records: Buffer[] = []
  const map = sparse === undefined ? NOTHING : sparseMapBytes(sparse, entry.size)
  const size = map.length + tarDataBytes(entry)
  if (sparse !== undefined) records.push(...sparseRecords(entry.name, entry.size))
  // What knows no sparse files makes one of this name, with the map in it.
  const name = sparse === undefined ? entry.name : Buffer.from('GNUSparseFile.0/file')
  const place = placeOf(name)
  const isText = isUtf8(name) && isUtf8(target)
  if (place === undefined || target.length > TAR_FIELD.target[1]) {
    if (!isText) records.push(record('hdrcharset', 'BINARY'))
    if (place === undefined) records.push(record('path', name))
    if (target.length > TAR_FIELD.target[1]) records.push(record('linkpath', target))
  }
  if (size > LONG_MAX) records.push(record('size', String(size)))
  if (uid > ID_MAX) records.push(record('uid', String(uid)))
  if (gid > ID_MAX) records.push(record('gid', String(gid)))
  const isPlainTime = mtimeNs === 0 && mtime >= 0 && mtime <= LONG_MAX
  if (!isPlainTime) records.push(record('mtime', timeText(mtime, mtimeNs)))
  for (const xattr of xattrs) records.push(...aclRecord(xattr.name, xattr.value), xattrRecord(xattr.name, xattr.value))
  const block = ustar({
    ...(place ?? { prefix: Buffer.alloc(0), name: name.subarray(0, TAR_FIELD.name[1]) }),
    type: TYPE_FLAGS[type],
    mode: entry.mode,
    uid: Math.min(uid, ID_MAX),
    gid: Math.min(gid, ID_MAX),
    size: type === 'file' ? Math.min(size, LONG_MAX) : 0,
    mtime: Math.min(Math.max(mtime, 0), LONG_MAX),
    target: target.subarray(0, TAR_FIELD.target[1]),
    major: entry.major,
    minor: entry.minor,
  })
  if (records.length === 0) return block
  const body = Buffer.concat(records)
  return Buffer.concat([paxHeader(body.length), body, tarPadding(body.length), block, map])
}

function sparseRecords(name: Buffer, size: number): Buffer[] {
  return [
    ...(isUtf8(name) ? [] : [record('hdrcharset', 'BINARY')]),
    record('GNU.sparse.major', '1'),
    record('GNU.sparse.minor', '0'),
    record('GNU.sparse.name', name),
    record('GNU.sparse.realsize', String(size)),
  ]
}

/** `tar --acls` and libarchive heed these records, and not the attribute. */
function aclRecord(name: Buffer, value: Buffer): Buffer[] {
  const kind = /^system\.posix_acl_(access|default)$/.exec(name.toString('latin1'))?.[1]
  const text = kind === undefined ? undefined : aclText(value)
  return text === undefined ? [] : [record(`SCHILY.acl.${kind}`, text)]
}

interface Ustar {
  name: Buffer
  prefix: Buffer
  type: string
  mode: number
  uid: number
  gid: number
  size: number
  mtime: number
  target: Buffer
  major: number
  minor: number
}

function ustar(fields: Ustar): Buffer {
  const block = Buffer.alloc(TAR_BLOCK_BYTES)
  const bytes = (field: keyof typeof TAR_FIELD, value: Buffer): void => block.set(value, TAR_FIELD[field][0])
  const octal = (field: keyof typeof TAR_FIELD, value: number): void => {
    const [at, length] = TAR_FIELD[field]
    block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1')
  }
  bytes('name', fields.name)
  octal('mode', fields.mode)
  octal('uid', fields.uid)
  octal('gid', fields.gid)
  octal('size', fields.size)
  octal('mtime', fields.mtime)
  bytes('type', Buffer.from(fields.type, 'latin1'))
  bytes('target', fields.target)
  bytes('magic', USTAR_MAGIC)
  octal('major', fields.major)
  octal('minor', fields.minor)
  bytes('prefix', fields.prefix)
  const [at, length] = TAR_FIELD.checksum
  block.fill(0x20, at, at + length)
  let sum = 0
  // `reduce` takes ten times as long, and a tar of small files is headers.
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, at, 'latin1')
  return block
}

function paxHeader(size: number): Buffer {
  const none = Buffer.alloc(0)
  const name = Buffer.from('PaxHeaders/entry')
  const plain = { prefix: none, mode: 0o644, uid: 0, gid: 0, mtime: 0, target: none, major: 0, minor: 0 }
  return ustar({ ...plain, name, type: 'x', size })
}

/** Undefined where the name fits neither into its field nor, cut at a slash, into that and the prefix. */
function placeOf(name: Buffer): { prefix: Buffer; name: Buffer } | undefined {
  const nameMax = TAR_FIELD.name[1]
  if (name.length <= nameMax) return { prefix: Buffer.alloc(0), name }
  for (let at = Math.min(TAR_FIELD.prefix[1], name.length - 2); at > 0; at -= 1) {
    if (name[at] === SLASH && name.length - at - 1 <= nameMax) {
      return { prefix: name.subarray(0, at), name: name.subarray(at + 1) }
    }
  }
  return undefined
}

/** The length counts its own digits. */
function record(key: string, value: Buffer | string): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), Buffer.from(value as string), Buffer.from('\n')])
  let length = rest.length + String(rest.length).length
  if (String(length).length > String(rest.length).length) length = rest.length + String(length).length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

/** star's key holds no "=", so such a name goes by libarchive's, which escapes it. */
function xattrRecord(name: Buffer, value: Buffer): Buffer {
  const text = name.toString('latin1')
  if (!text.includes('=')) return record(`SCHILY.xattr.${text}`, value)
  const escaped = text.replace(
    /[^A-Za-z0-9._-]/g,
    (char) => `%${char.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`,
  )
  return record(`LIBARCHIVE.xattr.${escaped}`, value.toString('base64'))
}

/** The fraction counts upwards: half a second before second -1 is "-1.5". */
function timeText(seconds: number, ns: number): string {
  if (ns === 0) return String(seconds)
  const isNegative = seconds < 0
  const whole = isNegative ? -seconds - 1 : seconds
  const fraction = isNegative ? 1_000_000_000 - ns : ns
  return `${isNegative ? '-' : ''}${whole}.${String(fraction).padStart(9, '0').replace(/0+$/, '')}`
}

function isUtf8(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString('utf8'), 'utf8').equals(bytes)
}
