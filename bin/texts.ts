import { displayDuration, displaySize } from '../lib/base/index.ts'
import type { MountResult } from '../lib/commands/mount.ts'
import { describeUsers, type ListedMount } from '../lib/commands/list.ts'
import type { MountStats } from '../lib/commands/stats.ts'
import type { UnmountResult } from '../lib/commands/umount.ts'
import { table } from './output.ts'

/** Nothing: like mount(8), a mount that worked says so by its exit code. In the foreground a line tells when to begin. */
export function mountText(result: MountResult): string {
  return result.foreground ? `${result.archive} is mounted on ${result.directory}; Ctrl-C unmounts\n` : ''
}

export function listText(listings: readonly ListedMount[]): string {
  if (listings.length === 0) return 'Nothing is mounted\n'
  const rows = listings.map((listing) => [
    listing.directory,
    listing.archive,
    String(listing.pid),
    `${listing.state}${listing.rw ? ', rw' : ''}`,
    listing.startedAt.slice(0, 19).replace('T', ' '),
    listing.cacheDir,
  ])
  const unserved = listings.map(({ directory, state, users }) => {
    const texts = users === undefined ? [] : describeUsers(users)
    return texts.length === 0 ? '' : `On "${directory}", which is ${state}:\n${indent(`${texts.join('\n')}\n`)}`
  })
  return table([['DIRECTORY', 'ARCHIVE', 'PID', 'STATE', 'SINCE (UTC)', 'CACHE'], ...rows]) + unserved.join('')
}

/** Nothing where all went as it should. */
export function umountText({ directory, ended, users }: UnmountResult): string {
  const texts = describeUsers(users)
  const left = texts.length === 0 ? '' : indent(`${texts.join('\n')}\n`)
  if (ended) return left === '' ? '' : `${directory} is unmounted; what stood on it gets errors until it ends:\n${left}`
  return `${directory} is unmounted here; its files that are open, or other mount namespaces have, are still served\n${left}`
}

export function statsText(answers: readonly MountStats[]): string {
  if (answers.length === 0) return 'Nothing is mounted\n'
  return answers.map((answer) => ('error' in answer ? failedText(answer) : oneText(answer))).join('\n')
}

function failedText(answer: Extract<MountStats, { error: unknown }>): string {
  return `${table([[answer.directory]])}  ${answer.error.message}\n`
}

type Fields = Readonly<Record<string, unknown>>

/** The server may be of a later version: what is unknown is printed by its name, what is absent is left out. */
function oneText(answer: Exclude<MountStats, { error: unknown }>): string {
  const { blocks, reads, cache, requests, stores, waits = [], memory, logLevel, trace } = answer
  const mountedSeconds = (Date.now() - Date.parse(answer.startedAt)) / 1000
  const rows: string[][] = [
    ['archive', answer.archive],
    ['digest', `sha256:${answer.digest}`],
    // A clock may have been set back meanwhile.
    ['mounted for', displayDuration(Math.max(mountedSeconds, answer.uptimeSeconds))],
    ['counted for', `${displayDuration(answer.uptimeSeconds)}, since its server began`],
    ['entries', String(answer.entries)],
    ['content', displaySize(answer.contentBytes)],
    ['here', `${blocks.cached} of ${blocks.total} blocks${percent(blocks.cached, blocks.total)}`],
    ...(reads === undefined ? [] : [['reads', pairs(reads)]]),
    ['cache', pairs(cache)],
    ['memory', pairs(memory)],
    ...(logLevel === undefined ? [] : [['log level', logLevel]]),
    ...(trace === undefined ? [] : [['trace', trace]]),
  ]
  let text = table([[answer.directory]]) + indent(table(rows))
  const opcodes = Object.entries(requests)
  if (opcodes.length > 0) {
    const lines = opcodes.map(([name, counts]) => [
      name,
      ...['count', 'p50Us', 'p99Us'].map((key) => cell(counts[key])),
    ])
    text += indent(table([['REQUEST', 'COUNT', 'P50 us', 'P99 us'], ...lines]))
  }
  if (stores.length > 0) {
    const slowestFirst = stores.toSorted((a, b) => meanMs(b) - meanMs(a))
    const lines = slowestFirst.map((store) => [
      String(store['name']),
      cell(store['requests']),
      displaySize(Number(store['bytes'] ?? 0)),
      Number.isFinite(meanMs(store)) ? meanMs(store).toFixed(1) : '-',
      cell(store['failures']),
      storeState(store),
    ])
    text += indent(table([['STORE, SLOWEST FIRST', 'REQUESTS', 'FETCHED', 'MEAN ms', 'FAILURES', 'STATE'], ...lines]))
  }
  if (waits.length > 0) {
    const lines = waits.map((file) => ['waits', 'totalMs', 'worstMs', 'path'].map((key) => cell(file[key])))
    text += indent(table([['WAITS', 'ms IN ALL', 'ms AT WORST', 'FILE'], ...lines]))
  }
  return text
}

/** Below all others where a store was not asked. */
function meanMs(store: Fields): number {
  const requests = Number(store['requests'] ?? 0)
  return requests === 0 ? Number.NEGATIVE_INFINITY : Number(store['latencyMsSum'] ?? 0) / requests
}

/** A server of an earlier version says nothing of it. */
function storeState(store: Fields): string {
  const { state, openForMs, lastError } = store
  if (state !== 'open' && state !== 'failing') return cell(state)
  const why = (lastError as { message?: unknown } | undefined)?.message
  const since = state === 'open' ? `left alone for ${displayDuration(Number(openForMs ?? 0) / 1000)}` : 'failing'
  return why === undefined ? since : `${since}: ${cell(why)}`
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '' : ` (${Math.floor((100 * part) / whole)} %)`
}

function pairs(fields: Fields): string {
  return Object.entries(fields)
    .map(([key, value]) => {
      if (key.endsWith('Bytes')) return `${key.slice(0, -5)} ${displaySize(Number(value))}`
      return `${key} ${key.startsWith('bytes') ? displaySize(Number(value)) : cell(value)}`
    })
    .join(', ')
}

function cell(value: unknown): string {
  return typeof value === 'number' || typeof value === 'string'
    ? String(value)
    : value === undefined
      ? '-'
      : JSON.stringify(value)
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ')
}
