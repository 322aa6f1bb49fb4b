import { displaySize } from '../lib/base/index.ts'
import type { CachedArchive, CacheListing, PruneOutcome, VerifyOutcome } from '../lib/commands/cache.ts'
import type { PinOutcome } from '../lib/commands/cache-pin.ts'
import { table } from './output.ts'

export function cacheListText(listing: CacheListing): string {
  const { cacheDir, bytes, blocks, segments, bytesMax, freeBytes, archives, pins } = listing
  let text = table([
    ['cache', cacheDir],
    ['holds', `${displaySize(bytes)} of ${displaySize(bytesMax)}: ${blocks} blocks in ${segments} segments`],
    ['free disk', displaySize(freeBytes)],
  ])
  if (archives.length > 0) {
    const head = ['DIGEST', 'HERE', 'BLOCKS', 'BYTES', 'USED (UTC)', 'STATE', 'NAME']
    text += `\n${table([head, ...archives.map(archiveRow)])}`
  }
  const strange = pins.filter(({ name }) => !archives.some(({ digest }) => digest === name))
  for (const { name, blocks: pinned } of strange) text += `pinned besides: ${name}, ${pinned} blocks\n`
  return text
}

function archiveRow(archive: CachedArchive): string[] {
  const { digest, blocks, blocksHere, bytesHere, usedAt, pinned, mounts, names } = archive
  const here = blocks === undefined ? '-' : blocks === 0 ? '100 %' : `${Math.floor((100 * blocksHere) / blocks)} %`
  const state = [...(mounts.length > 0 ? ['mounted'] : []), ...(pinned ? ['pinned'] : [])].join(', ')
  return [
    digest.slice(0, 16),
    here,
    blocks === undefined ? '-' : `${blocksHere}/${blocks}`,
    displaySize(bytesHere),
    usedAt.slice(0, 19).replace('T', ' '),
    state === '' ? '-' : state,
    names.length === 0 ? '-' : names.join(', '),
  ]
}

export function pruneText(outcome: PruneOutcome): string {
  const { dryRun, segments, bytes, indexes, archives, records, archiveBytes, keptSegments, busySegments } = outcome
  const rows = [
    [dryRun ? 'would remove' : 'removed', `${displaySize(bytes)} of blocks in ${segments} segments`],
    ['', `${indexes} indexes, ${archives} archives (${displaySize(archiveBytes)}), ${records} records`],
  ]
  if (keptSegments > 0) rows.push(['kept', `${keptSegments} segments with pinned or mounted blocks`])
  if (busySegments > 0) rows.push(['kept', `${busySegments} segments that are being written`])
  return table(rows)
}

export function verifyText(outcome: VerifyOutcome): string {
  const { blocks, bytes, damaged, archives, database, repaired } = outcome
  const rows = [['checked', `${blocks} blocks, ${displaySize(bytes)}`]]
  const drop = repaired ? ': dropped' : ''
  if (database !== undefined) rows.push(['damaged', `the database (${database})${repaired ? ': begun anew' : ''}`])
  if (damaged > 0) rows.push(['damaged', `${damaged} blocks${drop}`])
  for (const digest of archives) rows.push(['damaged', `archive or index ${digest}${drop}`])
  const isDamaged = database !== undefined || damaged + archives.length > 0
  if (isDamaged && !repaired) rows.push(['hint', 'drop it with `flistfs cache verify --repair`; it is fetched again'])
  if (!isDamaged) rows.push(['damaged', 'nothing'])
  return table(rows)
}

export function pinText(outcome: PinOutcome): string {
  const { archive, blocks, fetched } = outcome
  if (fetched === undefined) return ''
  const { failed, notKept } = fetched
  let text = `${archive}: ${fetched.blocks} of ${blocks} blocks are here\n`
  if (failed > 0) text += `${failed} could not be fetched\n`
  if (notKept > 0) text += `${notKept} had no room\n`
  return text
}
