import { displayDuration, displaySize } from '../lib/base/index.ts'
import type { WhyResult } from '../lib/commands/why.ts'
import { table } from './output.ts'

/** The reason first, what it is known by below. */
export function whyText(answer: WhyResult): string {
  const { blocks, absent, stores, waiting, waited, errors } = answer
  let text = `/${answer.path} of ${answer.directory}\n  ${verdict(answer)}\n`
  text += `  ${answer.kind}, ${displaySize(answer.size)}, ${blocks.cached} of ${blocks.total} blocks are here`
  text += `${blocks.fetching > 0 ? `, ${blocks.fetching} being fetched` : ''}\n`
  for (const { offset, bytes, forMs } of waiting) {
    text += `  a reader waits for ${displaySize(bytes)} at ${offset} since ${seconds(forMs)}\n`
  }
  if (waited !== undefined) {
    text += `  waited for ${waited.waits === 1 ? 'once' : `${waited.waits} times`}, ${seconds(waited.totalMs)} in all, ${seconds(waited.worstMs)} at worst\n`
  }
  if (stores.length > 0) {
    const rows = stores.map((store) => [
      store.name,
      store.state === 'open'
        ? `left alone, asked again in ${seconds(store.coolMs)}`
        : store.coolMs > 0
          ? `failed, asked last for ${seconds(store.coolMs)}`
          : 'ready',
      store.requests === 0 ? '-' : (store.latencyMsSum / store.requests).toFixed(1),
      String(store.requests),
      String(store.failures),
      store.lastError === undefined ? '' : `${store.lastError.at} ${store.lastError.message}`,
    ])
    text += indent(table([['STORE', 'STATE', 'MEAN ms', 'REQUESTS', 'FAILURES', 'LAST ERROR'], ...rows]))
  }
  if (absent.length > 0) {
    const rows = absent.map(({ block, id, state, stores: names }) => [
      String(block),
      id,
      state,
      names.join(', ') || 'none',
    ])
    text += indent(table([['BLOCK', 'ID', 'STATE', 'STORES, IN THIS ORDER'], ...rows]))
    const rest = blocks.total - blocks.cached - absent.length
    if (rest > 0) text += `  and ${rest} more\n`
  }
  for (const { at, code, message } of errors) text += `  ${at} ${code}: ${message}\n`
  return text
}

function verdict({ kind, blocks, stores, waiting, changed, absent, errors }: WhyResult): string {
  if (changed) return 'It is one of the changes of this writable mount: the archive is not asked for it'
  if (kind !== 'file') return `Nothing of a ${kind} is fetched: it is answered from the index`
  if (blocks.lacking > 0) return `Its end cannot be read: the archive lacks ${blocks.lacking} of its blocks`
  if (blocks.cached === blocks.total) return 'All of it is in the cache: reading it asks no store'
  if (absent.some(({ stores: names }) => names.length === 0)) return 'No store covers some of its blocks'
  if (stores.length > 0 && stores.every(({ coolMs }) => coolMs > 0))
    return 'Every store that may have its blocks has failed lately'
  if (waiting.length > 0) return 'Readers wait for blocks that are being fetched'
  if (errors.length > 0) return 'Its last reads failed'
  return 'Some of it is not in the cache: reading it waits for the stores below'
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : displayDuration(ms / 1000)
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ')
}
