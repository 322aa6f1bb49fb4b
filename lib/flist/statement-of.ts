import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FlistError, systemCode, systemReason } from '../base/index.ts'
import { compileArchive } from './compile.ts'
import { openIndex } from './index-file.ts'
import { writeIndex } from './index-writer.ts'
import { signedStatement } from './look/statement.ts'
import type { TreeBuilder } from './tree-builder.ts'
import { writeArchive, type WriteOptions } from './write-archive.ts'

/** No archive has it yet. */
const NO_DIGEST = '0'.repeat(64)

/**
 * What a signature of a tree that is about to be written is for. v1 does not carry all that a tree may hold: there what a reader
 * will find is asked of an archive that is thrown away. Throws what `writeArchive` and `compileArchive` throw.
 */
export async function statementOf(tree: TreeBuilder, options: WriteOptions): Promise<string> {
  let dir: string | undefined
  try {
    dir = mkdtempSync(join(tmpdir(), 'flistfs-sign-'))
    const indexPath = join(dir, 'index')
    if (tree.format === 'fl') {
      writeIndex(tree, indexPath, NO_DIGEST)
    } else {
      const archive = join(dir, 'archive')
      await writeArchive(tree, archive, options)
      await compileArchive(archive, indexPath, { digest: NO_DIGEST, signal: options.signal })
    }
    const index = openIndex(indexPath, NO_DIGEST)
    try {
      return signedStatement(index)
    } finally {
      index.close()
    }
  } catch (cause) {
    options.signal.throwIfAborted()
    // What is said of the archive would be wrong: there may be room where that lies.
    if (cause instanceof FlistError || systemCode(cause) === '') throw cause
    const message = `Cannot sign: "${tmpdir()}" cannot be used for a while: ${systemReason(cause)}`
    throw new FlistError('FLIST_SYSTEM', message, { hint: 'Make room there, or name another folder in TMPDIR', cause })
  } finally {
    if (dir !== undefined) rmSync(dir, { recursive: true, force: true })
  }
}
