import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimes, setXattr } from '../../lib/system/index.ts'

export interface NastyOptions {
  readonly links: number
  readonly entries: number
}

/** Capabilities as the kernel keeps them, version 2: cap_net_raw, permitted and effective. */
export const CAPABILITIES = Buffer.from('0100000200200000000000000000000000000000', 'hex')
/** An ACL that lets user 1234 read; acl(5), in the kernel's form. */
export const ACL = Buffer.from(
  '0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000400ffffffff',
  'hex',
)

/** Attributes of the nasty tree, by path. Capabilities and ACLs only where they could be set. */
export type NastyXattrs = Map<string, Map<string, Buffer>>

/** All that a packer may stumble over, in one folder. */
export function makeNasty(root: string, { links, entries }: NastyOptions): NastyXattrs {
  mkdirSync(root, { recursive: true })
  const at = (name: string): string => join(root, name)
  const xattrs: NastyXattrs = new Map()
  makeFiles(root)
  makeNames(root)
  mkdirSync(at('links'))
  writeFileSync(at('links/0'), 'one inode')
  for (let link = 1; link < links; link += 1) linkSync(at('links/0'), at(`links/${link}`))
  symlinkSync('nowhere', at('links/dangling'))
  symlinkSync('loop', at('links/loop'))
  linkSync(at('links/loop'), at('links/loop too'))
  mkdirSync(at('many'))
  for (let entry = 0; entry < entries; entry += 1) closeSync(openSync(at(`many/${entry}`), 'w'))
  execFileSync('mkfifo', [at('fifo')])
  if (process.getuid?.() === 0) {
    execFileSync('mknod', [at('block'), 'b', '4000', '1000000'])
    execFileSync('mknod', [at('character'), 'c', '1', '3'])
  }
  writeFileSync(at('attributes'), 'x')
  tryXattr(xattrs, root, 'attributes', 'user.small', Buffer.from('value'))
  tryXattr(xattrs, root, 'attributes', 'user.empty', Buffer.alloc(0))
  tryXattr(xattrs, root, 'attributes', 'security.capability', CAPABILITIES)
  tryXattr(xattrs, root, 'attributes', 'system.posix_acl_access', ACL)
  writeFileSync(at('large attribute'), 'x')
  // As much as the file system of the test takes: ext4 a block, others 64 KiB.
  for (const bytes of [65_536, 32_768, 3000]) {
    if (tryXattr(xattrs, root, 'large attribute', 'user.large', Buffer.alloc(bytes, bytes % 251))) break
  }
  tryXattr(xattrs, root, 'many', 'user.folder', Buffer.from([0, 255, 10]))
  tryXattr(xattrs, root, 'links/0', 'user.shared', Buffer.from('by all names'))
  setTimes(at('attributes'), 1_234_567_890, 123_456_789)
  setTimes(at('many'), 1, 1)
  lutimesSync(at('links/dangling'), 5, 5)
  return xattrs
}

function makeFiles(root: string): void {
  const block = 512 * 1024
  for (const [name, bytes] of [
    ['empty', 0],
    ['one', 1],
    ['block', block],
    ['block and one', block + 1],
    ['five', 5 * block - 7],
  ] as const) {
    writeFileSync(join(root, `file ${name}`), Buffer.alloc(bytes, name))
  }
  const sparse = openSync(join(root, 'sparse'), 'w')
  writeSync(sparse, 'begin', 0)
  writeSync(sparse, 'middle', 10 * block + 100)
  ftruncateSync(sparse, 64 * block + 12345)
  closeSync(sparse)
  const hole = openSync(join(root, 'only a hole'), 'w')
  ftruncateSync(hole, 3 * block)
  closeSync(hole)
}

function makeNames(root: string): void {
  mkdirSync(join(root, 'names'))
  const folder = Buffer.from(`${join(root, 'names')}/`)
  const names = [
    Buffer.from([0xff, 0xfe]),
    Buffer.from('new\nline'),
    Buffer.from(' '),
    Buffer.from('-rf'),
    Buffer.from('*?[a]\\'),
    Buffer.alloc(255, 0xe9),
    Buffer.from('ünï文件'),
    Buffer.from('.wh.not a whiteout'),
    Buffer.from([1, 0x7f]),
  ]
  for (const name of names) writeFileSync(Buffer.concat([folder, name]), name)
  symlinkSync(Buffer.from([0x80, 0x81, 0x0a]), Buffer.concat([folder, Buffer.from([0xfe])]))
  let deep = join(root, 'deep')
  for (let level = 0; level < 40; level += 1) deep = join(deep, 'd'.repeat(60))
  mkdirSync(deep, { recursive: true })
  writeFileSync(join(deep, 'bottom'), 'bottom')
}

function tryXattr(xattrs: NastyXattrs, root: string, path: string, name: string, value: Buffer): boolean {
  try {
    setXattr(join(root, path), name, value)
  } catch {
    return false
  }
  const its = xattrs.get(path) ?? new Map<string, Buffer>()
  xattrs.set(path, its.set(name, value))
  return true
}
