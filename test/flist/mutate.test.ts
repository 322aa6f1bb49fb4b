import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { openIndex } from '../../lib/flist/index.ts'
import type { FlistIndex } from '../../lib/flist/index.ts'
import { HEADER } from '../../lib/flist/layout.ts'
import { ATTRIBUTES, brokenPromise, compiled, file, folder, hashOf, thrownBy, writeArchive } from './helpers.ts'

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 60)
const SEED = Number(process.env['FLISTFS_FUZZ_SEED'] ?? Date.now() % 2 ** 31)

function makeSample(path: string): void {
  writeArchive(path, (writer) => {
    const first = writer.addInode(folder(1, 'first'))
    const second = writer.addInode(folder(first, 'second', { mtimeNs: 5 }))
    for (let at = 0; at < 40; at += 1) {
      const ino = writer.addInode(file(second, `file ${at}`, { size: 600_000 }))
      writer.addBlock(ino, hashOf(`${at} a`), hashOf(`${at} b`))
    }
    writer.addInode(file(first, Buffer.from([0xff]), { leader: 4 }))
    writer.addInode({
      ...ATTRIBUTES,
      parent: 1,
      name: Buffer.from('link'),
      mode: 0o120777,
      target: Buffer.from('first'),
    })
    const xattrs = [{ name: Buffer.from('user.a'), value: Buffer.from('value') }]
    writer.addInode(file(1, 'attributes', { xattrs }))
    writer.addRoute(0, 255, 'dir:///x')
    writer.addTag('a', 'b')
  })
}

const CHANGES = fc.array(fc.record({ at: fc.nat(), byte: fc.nat(255), run: fc.integer({ min: 1, max: 9 }) }), {
  minLength: 1,
  maxLength: 6,
})

function changed(bytes: Buffer, changes: readonly { at: number; byte: number; run: number }[]): Buffer {
  const copy = Buffer.from(bytes)
  for (const { at, byte, run } of changes) {
    for (let next = 0; next < run; next += 1) copy[(at + next) % copy.length] = byte
  }
  return copy
}

/** Touches everything an index offers. */
function useAll(index: FlistIndex): void {
  for (let row = 0; row < index.rowCount; row += 1) {
    index.pathOf(row)
    index.xattrs(row)
    const name = index.nameOf(row)
    index.find(row, name, 0, name.length)
  }
}

void t.test('compileArchive() of a changed fl gives an FlistError or a tree', async (t) => {
  const dir = t.testdir()
  makeSample(`${dir}/x.fl`)
  const bytes = readFileSync(`${dir}/x.fl`)
  t.comment(`seed ${SEED}, ${RUNS} runs`)
  let whole = 0
  await fc.assert(
    fc.asyncProperty(CHANGES, async (changes) => {
      writeFileSync(`${dir}/y.fl`, changed(bytes, changes))
      const error = await thrownBy(async () => {
        const index = await compiled(`${dir}/y.fl`, `${dir}/y.idx`)
        const broken = brokenPromise(index)
        useAll(index)
        index.close()
        if (broken !== undefined) throw new Error(broken)
        whole += 1
      })
      if (error !== undefined && !(error instanceof FlistError)) throw error
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.ok(whole >= 0, `${whole} of ${RUNS} were still archives`)
})

void t.test('openIndex() of a changed index gives an FlistError, or answers', async (t) => {
  const dir = t.testdir()
  makeSample(`${dir}/x.fl`)
  const index = await compiled(`${dir}/x.fl`, `${dir}/x.idx`)
  const { digest } = index
  index.close()
  const bytes = readFileSync(`${dir}/x.idx`)
  t.comment(`seed ${SEED}, ${RUNS} runs`)
  await fc.assert(
    fc.asyncProperty(CHANGES, fc.boolean(), async (changes, mendChecksums) => {
      const copy = changed(bytes, changes)
      if (mendChecksums) {
        copy.writeUInt32LE(crc32(copy.subarray(HEADER.size)), HEADER.bodyCrc)
        copy.writeUInt32LE(crc32(copy.subarray(0, HEADER.headerCrc)), HEADER.headerCrc)
      }
      rmSync(`${dir}/y.idx`, { force: true })
      rmSync(`${dir}/y.idx.ok`, { force: true })
      writeFileSync(`${dir}/y.idx`, copy)
      const error = await thrownBy(() => {
        const opened = openIndex(`${dir}/y.idx`, digest)
        useAll(opened)
        opened.close()
      })
      const isExpected = error instanceof FlistError && error.code === 'FLIST_INDEX_DAMAGED'
      if (error !== undefined && !isExpected) throw error
      if (error === undefined && !mendChecksums && !copy.equals(bytes)) throw new Error('a change went unseen')
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.pass('no run ended otherwise')
})
