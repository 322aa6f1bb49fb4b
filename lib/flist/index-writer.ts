import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { FlistError, invariant, LIMITS, systemCode, systemReason } from '../base/index.ts'
import { blockSections } from './block-sections.ts'
import { beyondLimit } from './damage.ts'
import { FILE_TYPE } from './file-type.ts'
import { writeIndexMark } from './index-mark.ts'
import {
  aligned,
  FLAG,
  FORMAT,
  HEADER,
  LAYOUT_VERSION,
  MAGIC,
  SECTIONS,
  sectionBytes,
  sectionEntryAt,
} from './layout.ts'
import type { SectionName } from './layout.ts'
import { nameSections } from './name-sections.ts'
import type { TreeBuilder } from './tree-builder.ts'
import { orderTree } from './tree-order.ts'
import type { OrderedTree } from './tree-order.ts'
import { xattrSections } from './xattr-sections.ts'

/** A section's bytes, made when it is its turn, in pieces: one column at a time is in memory. */
export type Pieces = Iterable<Uint8Array>
export type SectionPieces = Partial<Record<SectionName, () => Pieces>>

/** Writes the tree's index: a temporary file beside it, synced, renamed. Throws FLIST_ARCHIVE_DAMAGED, FLIST_LIMIT. */
export function writeIndex(tree: TreeBuilder, indexPath: string, digest: string): void {
  const order = orderTree(tree)
  const blocks = blockSections(tree, order)
  const names = nameSections(tree, order)
  const sections: SectionPieces = {
    ...names.sections,
    ...attributeSections(tree, order),
    ...blocks.sections,
    ...targetedSections(tree, order, names.targetAt, blocks.firstBlock),
    ...xattrSections(tree, order),
    json: () => [Buffer.from(JSON.stringify({ routes: tree.routes, tags: Object.fromEntries(tree.tags) }))],
  }
  const header = Buffer.alloc(HEADER.size)
  MAGIC.copy(header, HEADER.magic)
  header.writeUInt32LE(LAYOUT_VERSION, HEADER.layout)
  header.writeUInt32LE(flagsOf(tree, order), HEADER.flags)
  header.write(digest, HEADER.digest, 'hex')
  header.writeUInt32LE(FORMAT[tree.format], HEADER.format)
  header.writeUInt32LE(tree.hashBytes, HEADER.hashBytes)
  header.writeUInt32LE(order.rowCount, HEADER.rowCount)
  header.writeUInt32LE(order.inodeCount, HEADER.inodeCount)
  header.writeUInt32LE(blocks.blockCount, HEADER.blockCount)
  header.writeBigUInt64LE(BigInt(contentBytes(tree, order)), HEADER.contentBytes)
  publish(indexPath, header, sections)
}

function publish(indexPath: string, header: Buffer, sections: SectionPieces): void {
  const temporary = `${indexPath}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`
  let moved = false
  try {
    const fd = openSync(temporary, 'wx', 0o644)
    try {
      writeBody(fd, header, sections)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, indexPath)
    moved = true
    const folder = openSync(dirname(indexPath), 'r')
    try {
      fsyncSync(folder)
    } finally {
      closeSync(folder)
    }
  } catch (error) {
    if (systemCode(error) === '') throw error
    throw new FlistError('FLIST_CACHE_UNUSABLE', `Cannot write the index "${indexPath}": ${systemReason(error)}`, {
      hint: 'Make room in the cache folder, or name another with --cache',
      cause: error,
    })
  } finally {
    if (!moved) rmSync(temporary, { force: true })
  }
  writeIndexMark(indexPath)
}

function writeBody(fd: number, header: Buffer, sections: SectionPieces): void {
  const rows = header.readUInt32LE(HEADER.rowCount)
  const blocks = header.readUInt32LE(HEADER.blockCount)
  const hashBytes = header.readUInt32LE(HEADER.hashBytes)
  const padding = new Uint8Array(aligned(1))
  let at: number = HEADER.size
  let crc = 0
  const put = (piece: Uint8Array): void => {
    for (let done = 0; done < piece.length;) done += writeSync(fd, piece, done, piece.length - done, at + done)
    crc = crc32(piece, crc)
    at += piece.length
  }
  for (const [index, layout] of SECTIONS.entries()) {
    put(padding.subarray(0, aligned(at) - at))
    const from = at
    for (const piece of sections[layout.name]?.() ?? []) put(piece)
    const expected = sectionBytes(layout, rows, blocks, hashBytes)
    invariant(
      expected === undefined || at - from === expected || (layout.optional && at === from),
      `section ${layout.name} has ${at - from} bytes`,
    )
    header.writeBigUInt64LE(BigInt(from), sectionEntryAt(index))
    header.writeBigUInt64LE(BigInt(at - from), sectionEntryAt(index) + 8)
  }
  header.writeUInt32LE(crc, HEADER.bodyCrc)
  header.writeBigUInt64LE(BigInt(at), HEADER.fileBytes)
  header.writeUInt32LE(crc32(header.subarray(0, HEADER.headerCrc)), HEADER.headerCrc)
  writeSync(fd, header, 0, HEADER.size, 0)
}

function flagsOf(tree: TreeBuilder, order: OrderedTree): number {
  return (
    (tree.xattrEntry.length > 0 ? FLAG.hasXattrs : 0) |
    (tree.hasAcls ? FLAG.hasAcls : 0) |
    (order.inodeCount < order.rowCount ? FLAG.hasLinks : 0)
  )
}

function contentBytes(tree: TreeBuilder, order: OrderedTree): number {
  const { mode, size } = tree.columns
  let bytes = 0
  for (let row = 0; row < order.rowCount; row += 1) {
    const entry = order.sourceOf[row] ?? 0
    if (order.leader[row] !== row || ((mode[entry] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.file) continue
    bytes += size[entry] ?? 0
    if (bytes > Number.MAX_SAFE_INTEGER) throw beyondLimit('this archive', 'its files have 2^53 bytes and more')
  }
  return bytes
}

function bytesOf(array: Uint16Array | Uint32Array | Int32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

/** Columns that are a row's entry's own, or its leader's. */
function attributeSections(tree: TreeBuilder, order: OrderedTree): SectionPieces {
  const columns = tree.columns
  const { rowCount, sourceOf } = order
  const gathered = <T extends Uint16Array | Uint32Array | Float64Array>(target: T, source: T): Pieces => {
    for (let row = 0; row < rowCount; row += 1) target[row] = source[sourceOf[row] ?? 0] ?? 0
    return [bytesOf(target)]
  }
  const seconds = (source: Float64Array): Pieces => {
    const target = new Int32Array(rowCount * 2)
    for (let row = 0; row < rowCount; row += 1) {
      const value = source[sourceOf[row] ?? 0] ?? 0
      target[row * 2] = value | 0
      target[row * 2 + 1] = Math.floor(value / 2 ** 32)
    }
    return [bytesOf(target)]
  }
  const fractions = (source: Uint32Array): Pieces => {
    return source.some((value) => value !== 0) ? gathered(new Uint32Array(rowCount), source) : []
  }
  return {
    parent: () => [bytesOf(order.parent)],
    leader: () => [bytesOf(order.leader)],
    mode: () => gathered(new Uint16Array(rowCount), columns.mode),
    owner: () => gathered(new Uint32Array(rowCount), columns.owner),
    owners: () => [bytesOf(tree.owners.pairs.values.subarray(0, tree.owners.pairs.length))],
    nlink: () => [bytesOf(order.nlink)],
    size: () => gathered(new Float64Array(rowCount), columns.size),
    mtime: () => seconds(columns.mtime),
    ctime: () => seconds(columns.ctime),
    mtimeNs: () => fractions(columns.mtimeNs),
    ctimeNs: () => fractions(columns.ctimeNs),
  }
}

/** `first` and `count`, whose meaning goes by the type. */
function targetedSections(
  tree: TreeBuilder,
  order: OrderedTree,
  targetAt: Uint32Array,
  firstBlock: Uint32Array,
): SectionPieces {
  const { mode, first, references } = tree.columns
  const { rowCount, sourceOf } = order
  return {
    first: () => {
      const column = new Uint32Array(rowCount)
      for (let row = 0; row < rowCount; row += 1) {
        const entry = sourceOf[row] ?? 0
        const type = (mode[entry] ?? 0) & FILE_TYPE.mask
        if (type === FILE_TYPE.directory) column[row] = order.firstChild[row] ?? 0
        else if (type === FILE_TYPE.link) column[row] = targetAt[order.leader[row] ?? 0] ?? 0
        else if (type === FILE_TYPE.file) column[row] = firstBlock[entry] ?? 0
        else column[row] = first[entry] ?? 0
      }
      return [bytesOf(column)]
    },
    count: () => {
      const column = new Uint32Array(rowCount)
      for (let row = 0; row < rowCount; row += 1) {
        const entry = sourceOf[row] ?? 0
        const isFolder = ((mode[entry] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.directory
        column[row] = (isFolder ? order.childCount[row] : references[entry]) ?? 0
      }
      return [bytesOf(column)]
    },
  }
}

invariant(LIMITS.entriesMax < 0xffff_ffff && LIMITS.blocksMax < 0xffff_ffff, 'rows and blocks are u32')
