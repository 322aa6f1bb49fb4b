import type { Command } from 'commander'
import { displaySize } from '../lib/base/index.ts'
import type { PackResult, PackWords } from '../lib/commands/pack.ts'
import { reportOf } from './archive-options.ts'
import { addMakingOptions, type MakingOptions, makingWords } from './making-options.ts'
import { collect, type Context, verb } from './verb.ts'

/** Exit code for what was done in part. */
const IN_PART = 3
/** Problems that are told one by one. */
const TOLD_MAX = 50

interface Words extends MakingOptions {
  readonly base?: string
  readonly exclude?: string[]
  readonly owner?: string
  readonly group?: string
  readonly numericOwner?: true
  readonly mtime?: string
  readonly oneFileSystem?: true
  readonly follow?: true
  readonly sync: boolean
  readonly cache?: string
  readonly hub?: string
}

/** `flistfs pack`. */
export function addPack(program: Command, context: Context, done: (code: number) => void): void {
  const command = verb(program, 'pack', 'make an archive of a folder or a tar')
    .argument('<source>', 'a folder, a tar (gzip, zstd), or - for a tar on standard input')
    .argument('<archive>', 'the file to write')
  addMakingOptions(command)
    .option('--base <archive>', 'an older archive of the folder: files that did not change are not read again')
    .option('--exclude <pattern>', 'leave out what matches, as in tar (repeatable)', collect)
    .option('--owner <user>', 'give all to this user: a name, a number, or name:number')
    .option('--group <group>', 'give all to this group')
    .option('--numeric-owner', 'v1: write no names of users and groups')
    .option('--mtime <time>', 'give all this time: @SECONDS, a date, or the path of a file that has it')
    .option('--one-file-system', 'leave out what is mounted in the folder')
    .option('--follow', 'pack what symbolic links lead to in their place')
    .option('--no-sync', 'do not wait for the disk: faster, but a power cut may take blocks and leave the archive')
    .option('--cache <dir>', 'folder of the cache, for --base')
    .option('--hub <url>', 'the hub that user/name.flist of --base is on')
    .action(async (source: string, archive: string, words: Words) => {
      const { pack } = await import('../lib/commands/pack.ts')
      const result = await pack(packWords(source, archive, words), reportOf(context), context.signal)
      tell(context, result)
      context.output.result(result, packText(result))
      done(result.problemCount > 0 ? IN_PART : 0)
    })
}

function packWords(source: string, archive: string, words: Words): PackWords {
  return {
    source,
    archive,
    ...makingWords(words),
    base: words.base,
    cacheDir: words.cache,
    hub: words.hub,
    exclude: words.exclude ?? [],
    owner: words.owner,
    group: words.group,
    mtime: words.mtime,
    numericOwner: words.numericOwner ?? false,
    oneFileSystem: words.oneFileSystem ?? false,
    follow: words.follow ?? false,
    sync: words.sync,
  }
}

function tell(context: Context, { problems, problemCount }: PackResult): void {
  if (context.output.json) return
  for (const { path, why } of problems.slice(0, TOLD_MAX)) context.output.warn(`"${path}": ${why}`)
  const rest = problemCount - Math.min(problems.length, TOLD_MAX)
  if (rest > 0) context.output.warn(`${rest} more; --json names them`)
}

function packText(result: PackResult): string {
  const { archive, digest, entries, bytes, blocks, newBlocks, newBytes, reused, problemCount } = result
  const lines = [
    `${archive}: ${entries} entries, ${displaySize(bytes)} read, ${blocks} blocks, ${newBlocks} of them new (${displaySize(newBytes)})`,
    ...(reused > 0 ? [`${reused} files did not change`] : []),
    ...(problemCount > 0 ? [`${problemCount} could not be packed as they are`] : []),
    `sha256:${digest}`,
  ]
  return `${lines.join('\n')}\n`
}
