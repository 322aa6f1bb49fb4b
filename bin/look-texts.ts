import { displaySize } from '../lib/base/index.ts'
import type { Inspection, StatResult } from '../lib/commands/look.ts'
import type { DiskUse } from '../lib/commands/share.ts'
import { table } from './output.ts'

export function inspectText(found: Inspection): string {
  const { summary, largest, cached } = found
  const { blocks } = summary
  const entries = Object.entries(summary.entries).map(([type, count]) => `${count} ${plural(type, count)}`)
  const rows = [
    ['archive', found.archive],
    ['format', found.format],
    ['digest', `sha256:${found.digest}`],
    ['size', displaySize(found.bytes)],
    ['entries', entries.join(', ')],
    ['content', displaySize(summary.contentBytes)],
    ['blocks', `${blocks.references}, ${blocks.unique} of them different (${displaySize(blocks.uniqueBytes)})`],
    ['cached', `${cached.blocks} blocks, ${displaySize(cached.bytes)}`],
    ...(largest === undefined ? [] : [['largest', `${largest.path}, ${displaySize(largest.size)}`]]),
    ['carries', found.features.length === 0 ? '-' : found.features.join(', ')],
    ...signatureRows(found.signatures),
    ...(found.signatureError === undefined ? [] : [['', found.signatureError]]),
  ]
  found.routes.forEach(({ range, url }, nth) => rows.push([nth === 0 ? 'routes' : '', `${range} ${url}`]))
  Object.entries(found.tags).forEach(([name, value], nth) => rows.push([nth === 0 ? 'tags' : '', `${name}: ${value}`]))
  const { config } = found
  return table(rows) + (config === undefined ? '' : `config\n${JSON.stringify(config, undefined, 2)}\n`)
}

export function signatureRows(signatures: Inspection['signatures']): string[][] {
  if (signatures.length === 0) return [['signed', 'no']]
  return signatures.map(({ fingerprint, name = '', valid }, nth) => {
    return [nth === 0 ? 'signed' : '', `${fingerprint} ${name}`.trimEnd() + (valid ? '' : ', WRONG')]
  })
}

function plural(type: string, count: number): string {
  if (count === 1) return type
  return type.endsWith('y') ? `${type.slice(0, -1)}ies` : `${type}s`
}

export function statText(found: readonly StatResult[]): string {
  return found.map((entry) => table(statRows(entry))).join('\n')
}

function statRows(entry: StatResult): string[][] {
  const { device, target } = entry
  return [
    ['path', entry.path === '' ? '/' : entry.path],
    ['type', entry.type],
    ...(target === undefined ? [] : [['target', target]]),
    ...(device === undefined ? [] : [['device', `${device.major}, ${device.minor}`]]),
    ['mode', entry.mode],
    ['owner', `${entry.uid}:${entry.gid}`],
    ['size', `${entry.size}`],
    ['blocks', `${entry.blocks}`],
    ['links', `${entry.nlink}`],
    ['inode', `${entry.ino}`],
    ['modified', timeText(entry.mtime)],
    ['changed', timeText(entry.ctime)],
    ...Object.entries(entry.xattrs).map(([name, value]) => [name, value]),
  ]
}

/** UTC, and the seconds where no date is that far. */
function timeText(exact: string): string {
  const [seconds = '', ns = ''] = exact.split('.')
  const date = new Date(Number(seconds) * 1000)
  if (Number.isNaN(date.getTime())) return exact
  return `${date.toISOString().slice(0, -5).replace('T', ' ')}.${ns} UTC`
}

export function duText(use: DiskUse): string {
  const head = ['APPARENT', 'BLOCKS', 'UNIQUE', 'ONLY HERE', 'SHARED', 'CACHED', 'ARCHIVE']
  const rows = use.archives.map((share, nth) => [
    displaySize(share.apparentBytes),
    String(share.blocks),
    displaySize(share.bytes),
    displaySize(share.onlyHereBytes),
    displaySize(share.sharedBytes),
    displaySize(use.cached[nth]?.bytes ?? 0),
    use.names[nth] ?? '',
  ])
  if (rows.length > 1) {
    const apparent = use.archives.reduce((sum, share) => sum + share.apparentBytes, 0)
    rows.push([displaySize(apparent), String(use.blocks), displaySize(use.bytes), '', '', '', 'together'])
  }
  return table([head, ...rows])
}
