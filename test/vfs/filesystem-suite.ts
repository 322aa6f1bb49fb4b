import type { Test } from 'tap'
import { DEEP_LEVELS, type Expected, MANY, S_IFMT } from './sample-archive.ts'

export interface Attributes {
  readonly ino: bigint
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  /** As st_rdev: glibc's makedev. */
  readonly rdev: bigint
  readonly size: bigint
  /** Of 512 bytes. */
  readonly blocks: bigint
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
}

export interface DirectoryEntry {
  readonly name: Buffer
  /** DT_*, `st_mode >> 12`. */
  readonly type: number
  readonly ino: bigint
}

/** A tree as a reader sees it. Paths are bytes below the root. Errors have the errno's name as `code`. */
export interface TreeView {
  lstat(path: Buffer): Promise<Attributes>
  /** Without `.` and `..`, as the tree gives it. */
  readdir(path: Buffer): Promise<DirectoryEntry[]>
  readlink(path: Buffer): Promise<Buffer>
  read(path: Buffer, offset: number, bytes: number): Promise<Buffer>
  listxattr(path: Buffer): Promise<Buffer[]>
  getxattr(path: Buffer, name: Buffer): Promise<Buffer>
  statfs(): Promise<{ files: bigint; blocks: bigint; blockBytes: number; free: bigint; nameBytesMax: number }>
}

const BLOCK = 512 * 1024
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')
const join = (folder: Buffer, name: Buffer): Buffer =>
  folder.length === 0 ? name : Buffer.concat([folder, latin1('/'), name])

/** What a way to look at a tree may not show: each is skipped by name, with the reason. */
export interface Differences {
  /** Extended attributes that are listed and cannot be read. */
  readonly unreadable?: Readonly<Record<string, string>>
  /** Why an entry's times, name in its folder, or target is not shown as it is. All else it has is checked. */
  readonly times?: (entry: Expected) => string | undefined
  readonly name?: (name: Buffer) => string | undefined
  readonly target?: (target: Buffer) => string | undefined
}

/** What every way to look at a tree must show of `everything()`. */
export function filesystemSuite(
  t: Test,
  entries: readonly Expected[],
  open: () => Promise<TreeView>,
  differences: Differences = {},
): void {
  const facts = new Facts(entries)

  t.test('lstat() gives each entry its attributes', async (t) => {
    const view = await open()
    let wrong = 0
    for (const entry of entries) {
      const name = entry.path.toString('latin1').slice(-80)
      const why = differences.times?.(entry)
      if (why !== undefined) t.pass(`times of "${name}"`, { skip: why })
      const besides = { ino: 0n, ...(why === undefined ? {} : { atimeNs: 0n, mtimeNs: 0n, ctimeNs: 0n }) }
      const found = { ...(await view.lstat(entry.path)), ...besides }
      const wanted = { ...facts.attributes(entry), ...besides }
      if (same(found, wanted)) continue
      if (++wrong <= 5) t.strictSame(found, wanted, name)
    }
    t.equal(wrong, 0, `${entries.length} entries`)
  })

  t.test('st_ino is one for all names of a file, and another for each other file', async (t) => {
    const view = await open()
    const pathOf = new Map<bigint, string>()
    for (const entry of entries) {
      const name = entry.leader ?? entry.path.toString('latin1')
      const { ino } = await view.lstat(entry.path)
      const before = pathOf.get(ino)
      if (before !== undefined && before !== name) t.fail(`${name} has the number of ${before}`)
      pathOf.set(ino, name)
    }
    t.equal(pathOf.size, facts.inodes)
    t.equal((await view.lstat(latin1(''))).ino, 1n, 'the root is 1')
  })

  t.test('readdir() names all children once, with type and number, in order', async (t) => {
    const view = await open()
    for (const folder of entries.filter((entry) => (entry.mode & S_IFMT) === 0o040000)) {
      const found = await view.readdir(folder.path)
      const wanted = facts.childrenOf(folder)
      const name = folder.path.toString('latin1').slice(-60) || '/'
      const whys = wanted.map((entry) => differences.name?.(entry.name))
      for (const [nth, why] of whys.entries()) {
        if (why !== undefined) t.pass(`"${wanted[nth]?.name.toString('latin1')}" in ${name}`, { skip: why })
      }
      const shown = (entry: { name: Buffer }, nth: number): string => whys[nth] ?? entry.name.toString('hex')
      t.strictSame(found.map(shown), wanted.map(shown), `names in ${name}`)
      t.strictSame(
        found.map((entry) => entry.type),
        wanted.map((entry) => entry.type),
        `types in ${name}`,
      )
      // A folder's children have their own numbers: a few stand for all of many.
      for (const entry of found.slice(0, 20)) {
        const { ino } = await view.lstat(join(folder.path, entry.name))
        if (ino !== entry.ino) t.equal(entry.ino, ino, `the number of ${entry.name.toString('latin1')} in ${name}`)
      }
    }
    t.equal((await view.readdir(latin1('many'))).length, MANY)
    t.strictSame(await view.readdir(latin1('empty')), [])
    await t.rejects(view.readdir(latin1('files/one')), { code: 'ENOTDIR' })
  })

  t.test('readlink() gives the bytes of the target', async (t) => {
    const view = await open()
    for (const { path, target } of entries) {
      if (target === undefined) continue
      const why = differences.target?.(target)
      if (why === undefined) t.ok((await view.readlink(path)).equals(target), path.toString('latin1'))
      else t.pass(path.toString('latin1'), { skip: why })
    }
    await t.rejects(view.readlink(latin1('files/one')), { code: 'EINVAL' })
    await t.rejects(view.readlink(latin1('files')), { code: 'EINVAL' })
  })

  t.test('names that are not there', async (t) => {
    const view = await open()
    for (const name of [
      'missing',
      'files/missing',
      'empty/missing',
      'many/entry-9999',
      'FILES',
      'files/on',
      'files/one ',
    ]) {
      await t.rejects(view.lstat(latin1(name)), { code: 'ENOENT' }, name)
    }
    // Asked again: absence is cached.
    await t.rejects(view.lstat(latin1('missing')), { code: 'ENOENT' })
    await t.rejects(view.lstat(latin1('files/one/below')), { code: 'ENOTDIR' })
    await t.rejects(view.lstat(latin1('x'.repeat(255))), { code: 'ENOENT' })
    await t.rejects(view.lstat(latin1(`files/${'x'.repeat(256)}`)), { code: 'ENAMETOOLONG' })
  })

  readTests(t, facts, open)
  xattrTests(t, entries, open, differences.unreadable ?? {})

  t.test('statfs() gives true totals and no room', async (t) => {
    const found = await (await open()).statfs()
    t.equal(found.files, BigInt(facts.inodes))
    t.equal(found.free, 0n)
    t.equal(found.nameBytesMax, 255)
    const bytes = Number(found.blocks) * found.blockBytes
    t.ok(
      bytes >= facts.contentBytes && bytes < facts.contentBytes + found.blockBytes,
      `${bytes} for ${facts.contentBytes}`,
    )
  })

  t.test(`${DEEP_LEVELS} levels down`, async (t) => {
    const view = await open()
    const bottom = entries.find((entry) => entry.path.toString('latin1').endsWith('/bottom'))
    t.equal((await view.read(bottom?.path ?? latin1(''), 0, 100)).toString(), 'down here')
  })
}

function readTests(t: Test, facts: Facts, open: () => Promise<TreeView>): void {
  t.test('read() gives every file whole', async (t) => {
    const view = await open()
    for (const { path, content } of facts.files()) {
      const pieces: Buffer[] = []
      for (let at = 0; at < content.length; at += 1024 * 1024) pieces.push(await view.read(path, at, 1024 * 1024))
      if (!Buffer.concat(pieces).equals(content)) t.fail(`content of ${path.toString('latin1')}`)
    }
    t.pass('all files')
  })

  t.test('read() at odd places', async (t) => {
    const view = await open()
    const places = [0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 3, 2 * BLOCK]
    for (const { path, content } of facts.files('files/')) {
      for (const offset of [...places, content.length - 1, content.length, content.length + 1, 2 ** 40]) {
        for (const bytes of [1, 7, 4096, BLOCK, BLOCK + 2]) {
          if (offset < 0) continue
          const found = await view.read(path, offset, bytes)
          const wanted = content.subarray(Math.min(offset, content.length), Math.min(offset + bytes, content.length))
          if (!found.equals(wanted)) t.fail(`${path.toString('latin1')}: ${bytes} bytes at ${offset}`)
        }
      }
    }
    t.pass('all places')
  })

  t.test('read() of what is no file', async (t) => {
    await t.rejects((await open()).read(latin1('files'), 0, 10), { code: 'EISDIR' })
  })
}

function xattrTests(
  t: Test,
  entries: readonly Expected[],
  open: () => Promise<TreeView>,
  unreadable: Readonly<Record<string, string>>,
): void {
  t.test('listxattr() and getxattr() give each attribute', async (t) => {
    const view = await open()
    for (const { path, xattrs } of entries.filter((entry) => !entry.path.toString('latin1').startsWith('many/'))) {
      const found = (await view.listxattr(path)).map(String)
      const wanted = xattrs.map(({ name }) => name.toString())
      if (!same([...found].sort(), [...wanted].sort())) t.strictSame(found, wanted, path.toString('latin1'))
      for (const { name, value } of xattrs) {
        const why = unreadable[name.toString()]
        if (why !== undefined) {
          t.pass(name.toString(), { skip: why })
          continue
        }
        t.ok((await view.getxattr(path, name)).equals(value), `${path.toString('latin1')} ${name.toString()}`)
      }
    }
    await t.rejects(view.getxattr(latin1('xattrs/many'), latin1('user.absent')), { code: 'ENODATA' })
    await t.rejects(view.getxattr(latin1('files/one'), latin1('user.empty')), { code: 'ENODATA' })
  })
}

function same(a: unknown, b: unknown): boolean {
  const text = (value: unknown): string =>
    JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? `${inner}n` : inner))
  return text(a) === text(b)
}

/** What follows from the entries, computed the plain way. */
class Facts {
  readonly inodes: number
  readonly contentBytes: number
  readonly #entries: readonly Expected[]
  readonly #children = new Map<string, Expected[]>()
  readonly #names = new Map<string, number>()

  constructor(entries: readonly Expected[]) {
    this.#entries = entries
    const leaders = entries.filter((entry) => entry.leader === undefined)
    this.inodes = leaders.length
    this.contentBytes = leaders.reduce((sum, entry) => sum + (entry.content?.length ?? 0), 0)
    for (const entry of entries) {
      const path = entry.path.toString('latin1')
      const leader = entry.leader ?? path
      this.#names.set(leader, (this.#names.get(leader) ?? 0) + 1)
      if (path === '') continue
      const folder = path.slice(0, Math.max(path.lastIndexOf('/'), 0))
      this.#children.set(folder, [...(this.#children.get(folder) ?? []), entry])
    }
  }

  attributes(entry: Expected): Attributes {
    const { mode, uid, gid, mtime, mtimeNs, ctime, ctimeNs } = entry
    const path = entry.path.toString('latin1')
    const isFolder = (mode & S_IFMT) === 0o040000
    const folders = (this.#children.get(path) ?? []).filter((child) => (child.mode & S_IFMT) === 0o040000).length
    const size = BigInt(entry.content?.length ?? entry.target?.length ?? (isFolder ? 4096 : 0))
    const ns = (seconds: number, fraction: number): bigint => BigInt(seconds) * 1_000_000_000n + BigInt(fraction)
    return {
      ino: 0n,
      mode,
      nlink: isFolder ? 2 + folders : (this.#names.get(entry.leader ?? path) ?? 0),
      uid,
      gid,
      rdev: BigInt(entry.rdev),
      size,
      blocks: (size + 511n) / 512n,
      atimeNs: ns(mtime, mtimeNs),
      mtimeNs: ns(mtime, mtimeNs),
      ctimeNs: ns(ctime, ctimeNs),
    }
  }

  childrenOf(folder: Expected): { name: Buffer; type: number }[] {
    return (this.#children.get(folder.path.toString('latin1')) ?? [])
      .map((entry) => ({
        name: entry.path.subarray(entry.path.lastIndexOf('/') + 1),
        type: (entry.mode & S_IFMT) >> 12,
      }))
      .sort((a, b) => Buffer.compare(a.name, b.name))
  }

  files(prefix = ''): { path: Buffer; content: Buffer }[] {
    return this.#entries.flatMap(({ path, content }) =>
      content !== undefined && path.toString('latin1').startsWith(prefix) ? [{ path, content }] : [],
    )
  }
}
