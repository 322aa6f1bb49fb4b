import type { Command } from 'commander'
import { FlistError } from '../lib/base/index.ts'
import type { VerifyOutcome, VerifyRequest } from '../lib/commands/verify.ts'
import { addArchiveOptions, type ArchiveOptions, archiveWords, reportOf } from './archive-options.ts'
import { signatureRows } from './look-texts.ts'
import { table } from './output.ts'
import { collect, type Context, verb } from './verb.ts'

/** Exit code for damage that is still there. */
const DAMAGED = 12
/** Faults that are told one by one. */
const TOLD_MAX = 50

interface VerifyWords extends ArchiveOptions {
  readonly store?: string[]
  readonly blocks?: true
  readonly deep?: true
  readonly repair?: true
  readonly from?: string[]
  readonly signature?: true
  readonly key?: string[]
}

/** `flistfs verify`. */
export function addVerify(program: Command, context: Context, done: (code: number) => void): void {
  addArchiveOptions(verb(program, 'verify', 'check an archive, and its blocks in each store'))
    .argument('<archive>', 'as for mount')
    .option('--blocks', 'look for every block in every store that should have it')
    .option('--deep', 'fetch every block from there and check it')
    .option('--repair', 'put what is missing or damaged there again, from another store')
    .option('--from <store>', 'more stores to repair from, or the folder the archive was made of (repeatable)', collect)
    .option('--signature', 'say which keys signed it, and whether their signatures are right')
    .option('--key <file>', 'public keys of which one must have signed it (repeatable)', collect)
    .option('-s, --store <[xx-xx=]url>', 'stores to check, instead of what the archive says (repeatable)', collect)
    .action(async (archive: string, words: VerifyWords) => {
      const { verifyArchive } = await import('../lib/commands/verify.ts')
      const outcome = await verifyArchive(verifyRequest(archive, words), reportOf(context), context.signal)
      context.output.result(outcome, verifyText(outcome))
      const { missing = 0, damaged = 0, unrouted = 0, repaired = 0 } = outcome
      const isWrong = outcome.signed?.good === false
      done(isWrong || missing + damaged + unrouted > repaired ? DAMAGED : 0)
    })
}

function verifyRequest(archive: string, words: VerifyWords): VerifyRequest {
  const { store = [], from = [], repair = false, deep = false, blocks = false, signature, key } = words
  if (from.length > 0 && !repair) {
    throw new FlistError('FLIST_USAGE', 'Cannot use --from without --repair', { hint: 'Add --repair, or leave it out' })
  }
  const look = deep ? 'deep' : blocks || repair ? 'blocks' : 'structure'
  const signers = signature === undefined ? key : (key ?? [])
  return { ...archiveWords(archive, words), stores: store, from, repair, look, signers }
}

function verifyText(outcome: VerifyOutcome): string {
  const { archive, entries, stores, blocks, checks, faults = [] } = outcome
  const rows = [['archive', `${archive}: ${entries} entries, sound`]]
  const { signed } = outcome
  if (signed !== undefined) {
    rows.push(...signatureRows(signed.signatures))
    const isMissing = !signed.good && signed.signatures.every(({ valid }) => valid)
    if (isMissing) rows.push(['', 'none of the keys that were asked for'])
  }
  if (blocks !== undefined) {
    const { missing = 0, damaged = 0, unrouted = 0, repaired = 0 } = outcome
    rows.push(['stores', stores.join(', ')], ['checked', `${blocks} blocks, ${checks} times`])
    const count = (name: string, number: number): void => void (number > 0 && rows.push([name, `${number} blocks`]))
    count('missing', missing)
    count('damaged', damaged)
    count('no store', unrouted)
    count('repaired', repaired)
    if (missing + damaged + unrouted === 0) rows.push(['faults', 'none'])
  }
  const told = faults.slice(0, TOLD_MAX).map(({ fault, id, store, path, repaired }) => {
    return `${repaired ? 'repaired' : fault} ${id} in ${store}, of ${path}\n`
  })
  const rest = faults.length > TOLD_MAX ? `${faults.length - TOLD_MAX} more; --json names them\n` : ''
  return table(rows) + told.join('') + rest
}
