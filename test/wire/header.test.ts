import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as layout from '../../lib/wire/layout.ts'
import { OPCODE, OPCODE_INFO } from '../../lib/wire/opcodes.ts'

const HEADER = '/usr/include/linux/fuse.h'
const skip =
  (!existsSync(HEADER) && `needs ${HEADER} (linux-libc-dev)`) ||
  (spawnSync('gcc', ['--version'], { timeout: 120_000 }).status !== 0 && 'needs gcc')

/** Our tables and the kernel's structures: our name of a field, the kernel's, and the minor that brought it. */
const STRUCTS: Readonly<Record<string, readonly [keyof typeof layout, Readonly<Record<string, string>>]>> = {
  fuse_in_header: ['IN_HEADER', same('len opcode unique nodeid uid gid pid', { extlen: 'total_extlen' })],
  fuse_out_header: ['OUT_HEADER', same('len error unique')],
  fuse_init_in: ['INIT_IN', same('major minor flags flags2', { maxReadahead: 'max_readahead', sizeMin: 'flags2' })],
  fuse_init_out: [
    'INIT_OUT',
    same('major minor flags flags2', {
      maxReadahead: 'max_readahead',
      maxBackground: 'max_background',
      congestionThreshold: 'congestion_threshold',
      maxWrite: 'max_write',
      timeGran: 'time_gran',
      maxPages: 'max_pages',
      mapAlignment: 'map_alignment',
      maxStackDepth: 'max_stack_depth@40',
      requestTimeout: 'request_timeout@43',
    }),
  ],
  fuse_attr: [
    'ATTR',
    same('ino blocks atime mtime ctime mode nlink uid gid rdev blksize flags', {
      bytes: 'size',
      atimeNs: 'atimensec',
      mtimeNs: 'mtimensec',
      ctimeNs: 'ctimensec',
    }),
  ],
  fuse_entry_out: [
    'ENTRY_OUT',
    same('nodeid generation attr', {
      entryValid: 'entry_valid',
      attrValid: 'attr_valid',
      entryValidNs: 'entry_valid_nsec',
      attrValidNs: 'attr_valid_nsec',
    }),
  ],
  fuse_attr_out: ['ATTR_OUT', same('dummy attr', { attrValid: 'attr_valid', attrValidNs: 'attr_valid_nsec' })],
  fuse_dirent: ['DIRENT', same('ino off namelen type')],
  fuse_direntplus: ['DIRENTPLUS', { entry: 'entry_out', dirent: 'dirent' }],
  fuse_read_in: [
    'READ_IN',
    same('fh offset flags', { bytes: 'size', readFlags: 'read_flags', lockOwner: 'lock_owner' }),
  ],
  fuse_getxattr_in: ['GETXATTR_IN', { bytes: 'size' }],
  fuse_getxattr_out: ['GETXATTR_OUT', { bytes: 'size' }],
  fuse_open_in: ['OPEN_IN', same('flags', { openFlags: 'open_flags' })],
  fuse_open_out: ['OPEN_OUT', same('fh', { openFlags: 'open_flags', backingId: 'backing_id@40' })],
  fuse_release_in: ['RELEASE_IN', same('fh flags', { releaseFlags: 'release_flags', lockOwner: 'lock_owner' })],
  fuse_interrupt_in: ['INTERRUPT_IN', same('unique')],
  fuse_kstatfs: ['STATFS_OUT', same('blocks bfree bavail files ffree bsize namelen frsize')],
  fuse_backing_map: ['BACKING_MAP', same('fd@40 flags@40 padding@40')],
}

/** Fields whose names are the kernel's, and others. */
function same(names: string, others: Record<string, string> = {}): Record<string, string> {
  const own = names.split(' ').map((name) => [name.replace(/@.*/, ''), name] as const)
  return { ...Object.fromEntries(own), ...others }
}

/** The structure behind the header of each request; undefined: none. */
const BODIES: Readonly<Record<keyof typeof OPCODE, string | undefined>> = {
  lookup: undefined,
  forget: 'fuse_forget_in',
  getattr: 'fuse_getattr_in',
  setattr: 'fuse_setattr_in',
  readlink: undefined,
  symlink: undefined,
  mknod: 'fuse_mknod_in',
  mkdir: 'fuse_mkdir_in',
  unlink: undefined,
  rmdir: undefined,
  rename: 'fuse_rename_in',
  link: 'fuse_link_in',
  open: 'fuse_open_in',
  read: 'fuse_read_in',
  write: 'fuse_write_in',
  statfs: undefined,
  release: 'fuse_release_in',
  fsync: 'fuse_fsync_in',
  // FUSE_COMPAT_SETXATTR_IN_SIZE without SETXATTR_EXT, which is not asked for.
  setxattr: '8',
  getxattr: 'fuse_getxattr_in',
  listxattr: 'fuse_getxattr_in',
  removexattr: undefined,
  flush: 'fuse_flush_in',
  // Before 7.36; the rest is optional.
  init: '16',
  opendir: 'fuse_open_in',
  readdir: 'fuse_read_in',
  releasedir: 'fuse_release_in',
  fsyncdir: 'fuse_fsync_in',
  getlk: 'fuse_lk_in',
  setlk: 'fuse_lk_in',
  setlkw: 'fuse_lk_in',
  access: 'fuse_access_in',
  create: 'fuse_create_in',
  interrupt: 'fuse_interrupt_in',
  bmap: 'fuse_bmap_in',
  destroy: undefined,
  ioctl: 'fuse_ioctl_in',
  poll: 'fuse_poll_in',
  // A retrieved page; its layout depends on what was asked.
  notifyReply: undefined,
  batchForget: 'fuse_batch_forget_in',
  fallocate: 'fuse_fallocate_in',
  readdirplus: 'fuse_read_in',
  rename2: 'fuse_rename2_in',
  lseek: 'fuse_lseek_in',
  copyFileRange: 'fuse_copy_file_range_in',
  setupmapping: 'fuse_setupmapping_in',
  // A count, then as many fuse_removemapping_one.
  removemapping: 'fuse_removemapping_in',
  syncfs: 'fuse_syncfs_in',
  tmpfile: 'fuse_create_in',
  statx: 'fuse_statx_in@39',
}

/** Names of opcodes that are not ours with underscores. */
const KERNEL_NAMES: Readonly<Record<string, string>> = { statx: 'STATX@39', tmpfile: 'TMPFILE@37', syncfs: 'SYNCFS@34' }

const FLAGS: Readonly<Record<string, readonly [value: number, name: string]>> = Object.fromEntries([
  ...Object.entries(layout.INIT_FLAG).map(([key, value]) => [key, [value >>> 0, `FUSE_${snake(key)}`]]),
  ...Object.entries(layout.FOPEN).map(([key, value]) => [`fopen ${key}`, [value, `FOPEN_${snake(key)}@40`]]),
  ['passthrough', [layout.INIT_FLAG2.passthrough, 'FUSE_PASSTHROUGH >> 32@40']],
  ['hasResend', [layout.INIT_FLAG2.hasResend, 'FUSE_HAS_RESEND >> 32@40']],
  ['allowIdmap', [layout.INIT_FLAG2.allowIdmap, 'FUSE_ALLOW_IDMAP >> 32@41']],
  ['resend', [layout.NOTIFY.resend, 'FUSE_NOTIFY_RESEND@40']],
]) as Record<string, [number, string]>

function snake(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

/** Evaluates constant expressions by the header; undefined where the header is older than `@minor` says. */
function evaluate(t: Test, expressions: readonly string[]): Map<string, number | undefined> {
  const dir = t.testdir()
  const lines = expressions.map((expression, nth) => {
    const [value = '', minor = '0'] = expression.split('@')
    return `#if FUSE_KERNEL_MINOR_VERSION >= ${minor}\nprintf("${nth} %llu\\n", (unsigned long long)(${value}));\n#endif`
  })
  const source = `#include <stddef.h>\n#include <stdio.h>\n#include <stdint.h>\n#include <linux/fuse.h>\nint main(void) {\n${lines.join('\n')}\nreturn 0; }\n`
  writeFileSync(join(dir, 'layout.c'), source)
  execFileSync('gcc', ['-o', join(dir, 'layout'), join(dir, 'layout.c')], { timeout: 120_000 })
  const out = execFileSync(join(dir, 'layout'), { encoding: 'utf8', timeout: 120_000 })
  const values = new Map(
    out
      .trim()
      .split('\n')
      .map((line) => line.split(' ').map(Number) as [number, number]),
  )
  return new Map(expressions.map((expression, nth) => [expression, values.get(nth)]))
}

/** Compares; what the header does not know yet is named, aloud. */
function compare(t: Test, wanted: readonly (readonly [name: string, ours: number, expression: string])[]): void {
  const values = evaluate(
    t,
    wanted.map(([, , expression]) => expression),
  )
  const unknown: string[] = []
  for (const [name, ours, expression] of wanted) {
    const value = values.get(expression)
    if (value === undefined) unknown.push(name)
    else t.equal(ours, value, `${name}: ${expression}`)
  }
  if (unknown.length > 0) t.comment(`this header is too old for ${unknown.join(', ')}`)
}

t.test('layouts are those of the kernel header', { skip }, async (t) => {
  const wanted = Object.entries(STRUCTS).flatMap(([struct, [table, fields]]) => {
    const ours = layout[table] as unknown as Readonly<Record<string, number>>
    const tag = struct === 'fuse_backing_map' ? '@40' : ''
    const unnamed = Object.keys(ours).filter((key) => key !== 'size' && key !== 'align' && fields[key] === undefined)
    t.strictSame(unnamed, [], `all of ${table} are compared`)
    const places = Object.entries(fields).map(([key, field]) => {
      const [name = '', minor] = field.split('@')
      return [
        `${table}.${key}`,
        ours[key] ?? -1,
        `offsetof(struct ${struct}, ${name})${minor ? `@${minor}` : ''}`,
      ] as const
    })
    return [[`${table}.size`, ours['size'] ?? -1, `sizeof(struct ${struct})${tag}`] as const, ...places]
  })
  compare(t, wanted)
})

t.test('opcodes and the sizes of their fixed parts are those of the kernel header', { skip }, async (t) => {
  const opcodes = Object.entries(OPCODE).map(
    ([key, value]) => [key, value, `FUSE_${KERNEL_NAMES[key] ?? OPCODE_INFO[value].name}`] as const,
  )
  const bodies = Object.entries(BODIES).map(([key, struct]) => {
    const ours = OPCODE_INFO[OPCODE[key as keyof typeof OPCODE]].bodyBytes
    const [name = '0', minor] = (struct ?? '0').split('@')
    const expression = /^\d+$/.test(name) ? name : `sizeof(struct ${name})`
    return [`${key}.bodyBytes`, ours, `${expression}${minor ? `@${minor}` : ''}`] as const
  })
  compare(t, [...opcodes, ...bodies])
})

t.test('flags are those of the kernel header', { skip }, async (t) => {
  compare(
    t,
    Object.entries(FLAGS).map(([key, [value, expression]]) => [key, value, expression] as const),
  )
  compare(t, [['FUSE_MAJOR', layout.FUSE_MAJOR, 'FUSE_KERNEL_VERSION']])
})
