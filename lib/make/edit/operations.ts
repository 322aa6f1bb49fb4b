import { displayBytes, FlistError, LIMITS, wordBytes } from '../../base/index.ts'
import { checkXattr, FILE_TYPE } from '../../flist/index.ts'
import type { EditTree, Inode, TreeNode as Node } from './edit-tree.ts'
import { TreeNode } from './edit-tree.ts'

const PERMISSIONS = 0o7777
const FOLDER_BYTES = 4096
const CAPABILITY = Buffer.from('security.capability')

/** Where a path leads: its folder, its last name, and what is there. */
interface Spot {
  readonly folder: Node
  readonly name: string
  readonly node: Node | undefined
  /** All folders on the way, that one too. */
  readonly way: readonly Node[]
}

/**
 * Changes to a tree, as the commands of the same names make them on a file system; no link is followed. Each throws FLIST_USAGE where it cannot
 * be done, and has then changed nothing.
 */
export class Operations {
  readonly #tree: EditTree
  /** Seconds of Unix time that changed entries and folders get. */
  readonly #now: number

  constructor(tree: EditTree, now: number) {
    this.#tree = tree
    this.#now = now
  }

  rm(path: string, recursive: boolean): void {
    const { folder, name, node } = this.#spot(path)
    if (node === undefined) throw refused('remove', path, 'it is not there', LOOK)
    if (name === '') throw refused('remove', path, 'it is the root')
    if (node.isFolder && !recursive && node.children.size > 0) {
      throw refused('remove', path, 'it is a folder with something in it', 'Say rm -r')
    }
    folder.children.delete(name)
    this.#changed(folder)
  }

  /** A file or an empty folder at `to` is replaced; into a folder it is moved. */
  mv(from: string, to: string): void {
    const source = this.#spot(from)
    const { node } = source
    if (node === undefined) throw refused('move', from, 'it is not there', LOOK)
    if (source.name === '') throw refused('move', from, 'it is the root')
    const target = this.#place(to, source.name)
    if (target.way.includes(node)) throw refused('move', from, `"${to}" is in it`)
    if (target.node === node) return
    this.#mayReplace('move', to, target.node, node)
    source.folder.children.delete(source.name)
    this.#changed(source.folder)
    this.#put(target, node)
  }

  mkdir(path: string, parents: boolean, mode = 0o755): void {
    const names = namesOf(path)
    let folder = this.#tree.root
    names.forEach((name, nth) => {
      const isLast = nth === names.length - 1
      const next = folder.children.get(name)
      if (next?.isFolder === true && (!isLast || parents)) folder = next
      else if (next !== undefined)
        throw refused('make folder', path, isLast ? 'it is there' : 'a part of it is no folder')
      else if (!isLast && !parents) throw refused('make folder', path, 'a folder on the way is missing', 'Say mkdir -p')
      else {
        const made = this.#fresh(FILE_TYPE.directory | (isLast ? mode & PERMISSIONS : 0o755), FOLDER_BYTES)
        this.#put({ folder, name }, made)
        folder = made
      }
    })
  }

  ln(target: string, path: string, symbolic: boolean): void {
    const base = wordBytes(target.split('/').findLast((name) => name !== '') ?? '').toString('latin1')
    const spot = this.#place(path, base)
    if (spot.node !== undefined) throw refused('link', path, 'it is there')
    if (symbolic) {
      const bytes = wordBytes(target)
      if (bytes.length < 1 || bytes.length > LIMITS.linkTargetBytesMax)
        throw refused('link', path, 'its target is too long')
      return this.#put(spot, this.#fresh(FILE_TYPE.link | 0o777, bytes.length, bytes))
    }
    const { node } = this.#spot(target)
    if (node === undefined) throw refused('link', target, 'it is not there', LOOK)
    if (node.isFolder) throw refused('link', target, 'it is a folder', 'Say ln -s')
    this.#put(spot, new TreeNode(node.inode))
  }

  /** `mode` is octal, or as chmod(1) has it: `u+x,go-w`. */
  chmod(mode: string, path: string, recursive: boolean): void {
    const change = modeChange(mode)
    this.#each(path, recursive, (inode) => {
      // As chmod(1): a link has no mode of its own.
      if ((inode.mode & FILE_TYPE.mask) === FILE_TYPE.link) return
      const isFolder = (inode.mode & FILE_TYPE.mask) === FILE_TYPE.directory
      inode.mode = (inode.mode & FILE_TYPE.mask) | change(inode.mode & PERMISSIONS, isFolder)
    })
  }

  /** Undefined: as it is. As with chown(2), a file that changes hands loses setuid, setgid and capabilities. */
  chown(uid: number | undefined, gid: number | undefined, path: string, recursive: boolean): void {
    this.#each(path, recursive, (inode) => {
      inode.uid = uid ?? inode.uid
      inode.gid = gid ?? inode.gid
      if ((inode.mode & FILE_TYPE.mask) !== FILE_TYPE.file) return
      inode.mode &= (inode.mode & 0o10) === 0 ? ~0o4000 : ~0o6000
      inode.xattrs = inode.xattrs.filter(({ name }) => !name.equals(CAPABILITY))
    })
  }

  /** Undefined: it is removed. */
  setXattr(name: string, value: Buffer | undefined, path: string): void {
    const key = wordBytes(name)
    const why = value === undefined ? undefined : checkXattr(key, value)
    if (why !== undefined) throw refused('set an attribute of', path, why)
    this.#each(path, false, (inode) => {
      const others = inode.xattrs.filter((xattr) => !xattr.name.equals(key))
      if (value === undefined && others.length === inode.xattrs.length) {
        throw refused('remove an attribute of', path, `it has no "${name}"`)
      }
      inode.xattrs = value === undefined ? others : [...others, { name: key, value }]
    })
  }

  /** Puts a tree of another archive here; a folder that is there is replaced only where it is empty. */
  graft(node: Node, base: string, path: string): void {
    const spot = this.#place(path, base)
    this.#mayReplace('put', path, spot.node, node)
    this.#put(spot, node)
  }

  #each(path: string, recursive: boolean, change: (inode: Inode) => void): void {
    const start = this.#spot(path).node
    if (start === undefined) throw refused('change', path, 'it is not there', LOOK)
    // A file with several names is changed once.
    const seen = new Set<Inode>()
    const left = [start]
    for (let node = left.pop(); node !== undefined; node = left.pop()) {
      if (!seen.has(node.inode)) {
        change(node.inode)
        node.inode.ctime = this.#now
        node.inode.ctimeNs = 0
        seen.add(node.inode)
      }
      if (recursive && node.isFolder) left.push(...node.children.values())
    }
  }

  #mayReplace(what: string, path: string, old: Node | undefined, by: Node): void {
    if (old === undefined) return
    if (old.isFolder !== by.isFolder) throw refused(what, path, 'a folder and something else cannot replace each other')
    if (old.isFolder && old.children.size > 0) throw refused(what, path, 'a folder with something in it is there')
  }

  #put({ folder, name }: Pick<Spot, 'folder' | 'name'>, node: Node): void {
    if (Buffer.byteLength(name, 'latin1') > LIMITS.nameBytesMax) throw refused('make', name, 'its name is too long')
    folder.children.set(name, node)
    this.#changed(folder)
  }

  #changed({ inode }: Node): void {
    inode.mtime = inode.ctime = this.#now
    inode.mtimeNs = inode.ctimeNs = 0
  }

  #fresh(mode: number, size: number, target?: Buffer): Node {
    const now = this.#now
    const times = { mtime: now, mtimeNs: 0, ctime: now, ctimeNs: 0 }
    return new TreeNode({ mode, uid: 0, gid: 0, size, rdev: 0, ...times, target, xattrs: [], refs: Buffer.alloc(0) })
  }

  /** The path itself, or a name in it where it is a folder. */
  #place(path: string, base: string): Spot {
    const spot = this.#spot(path)
    const folder = spot.node
    if (folder?.isFolder !== true) return spot
    return { folder, name: base, node: folder.children.get(base), way: [...spot.way, folder] }
  }

  #spot(path: string): Spot {
    const names = namesOf(path)
    const name = names.pop()
    const { root } = this.#tree
    // The root has no name: it can be changed, but neither moved nor removed.
    if (name === undefined) return { folder: root, name: '', node: root, way: [] }
    const way = [root]
    let folder = root
    for (const step of names) {
      const next = folder.children.get(step)
      if (next?.isFolder !== true) throw refused('find', path, `"${display(step)}" is no folder there`)
      folder = next
      way.push(folder)
    }
    return { folder, name, node: folder.children.get(name), way }
  }
}

/** Names of a path, a character a byte. Throws FLIST_USAGE for `..`: what it means depends on links. */
function namesOf(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) throw refused('use', path, 'it has ".." in it')
  return names.map((name) => wordBytes(name).toString('latin1'))
}

function display(name: string): string {
  return displayBytes(Buffer.from(name, 'latin1'))
}

const LOOK = 'See what is there with `flistfs ls ARCHIVE`'

function refused(what: string, path: string, why: string, hint?: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot ${what} "${path}": ${why}`, hint === undefined ? {} : { hint })
}

const WHO: Readonly<Record<string, number>> = { u: 0o4700, g: 0o2070, o: 0o1007, a: 0o7777 }
const BITS: Readonly<Record<string, number>> = { r: 0o444, w: 0o222, x: 0o111, s: 0o6000, t: 0o1000 }

function modeChange(text: string): (mode: number, isFolder: boolean) => number {
  if (/^[0-7]{1,4}$/.test(text)) return () => Number.parseInt(text, 8)
  const steps = text.split(',').map((clause) => /^([ugoa]*)([-+=])([rwxXst]*)$/.exec(clause))
  if (steps.some((step) => step === null)) {
    throw new FlistError('FLIST_USAGE', `Cannot read "${text}" as a mode`, { hint: 'Write it as 755 or u+x,go-w' })
  }
  return (mode, isFolder) =>
    steps.reduce((before, step) => {
      const [, who = '', how = '', letters = ''] = step ?? []
      const mask = (who === '' ? 'a' : who).split('').reduce((all, one) => all | (WHO[one] ?? 0), 0)
      const executes = isFolder || (before & 0o111) !== 0
      const bits = letters
        .split('')
        .reduce((all, one) => all | (one === 'X' ? (executes ? 0o111 : 0) : (BITS[one] ?? 0)), 0)
      if (how === '+') return before | (bits & mask)
      return how === '-' ? before & ~(bits & mask) : (before & ~mask) | (bits & mask)
    }, mode)
}
