import { FlistError, type FlistErrorCode } from '../base/index.ts'
import type { BlockRef } from './port.ts'
import { isSilence } from './retrying.ts'

/** What one store said; without an error it does not have the block. */
export interface Refusal {
  readonly name: string
  readonly error: FlistError | undefined
}

const ASK_ANOTHER = 'Name another store that has the block: `flistfs mount --store URL`'

export function notRouted(ref: BlockRef): FlistError {
  return new FlistError('FLIST_BLOCK_NOT_ROUTED', `Cannot read block "${hex(ref)}": no store covers its first byte`, {
    hint: 'Name the store that has the blocks: `flistfs mount --store URL`',
  })
}

/** The worst code wins: wrong bytes, then a store that may have had it, then "nobody has it". */
export function blockFailure(ref: BlockRef, refusals: readonly Refusal[]): FlistError {
  const errors = refusals.flatMap(({ error }) => (error === undefined ? [] : [error]))
  const corrupt = errors.find((error) => error.code === 'FLIST_BLOCK_CORRUPT')
  // Who did not answer may have it: that passes, the rest does not.
  const first = errors.find((error) => isSilence(error)) ?? errors[0]
  const message = `Cannot read block "${hex(ref)}": ${said(ref, refusals)}`
  if (corrupt !== undefined)
    return new FlistError('FLIST_BLOCK_CORRUPT', message, { hint: ASK_ANOTHER, cause: corrupt })
  if (first === undefined) return new FlistError('FLIST_BLOCK_MISSING', message, { hint: ASK_ANOTHER })
  return new FlistError(storeCode(first.code), message, { hint: first.hint ?? ASK_ANOTHER, cause: first })
}

export function tooLate(ref: BlockRef, timeoutMs: number, refusals: readonly Refusal[]): FlistError {
  const rest = refusals.length === 0 ? '' : ` (${said(ref, refusals)})`
  return new FlistError(
    'FLIST_TIMEOUT',
    `Cannot read block "${hex(ref)}": no store gave it in ${timeoutMs} ms${rest}`,
    {
      hint: ASK_ANOTHER,
    },
  )
}

/** A route's URL may be nonsense, but whoever reads the file did not write it: for them the store cannot be reached. */
function storeCode(code: FlistErrorCode): FlistErrorCode {
  return code === 'FLIST_USAGE' ? 'FLIST_STORE_UNREACHABLE' : code
}

function said(ref: BlockRef, refusals: readonly Refusal[]): string {
  const lines = new Map<string, string>()
  for (const { name, error } of refusals)
    lines.set(name, error === undefined ? 'does not have it' : reason(ref, name, error))
  return [...lines].map(([name, line]) => `store "${name}" ${line}`).join('; ')
}

/** The part of a store's own message that is not said already. */
function reason(ref: BlockRef, name: string, error: FlistError): string {
  for (const start of [
    `Cannot read from store "${name}": `,
    `Cannot use store "${name}": `,
    `Cannot read block "${hex(ref)}": `,
  ]) {
    if (error.message.startsWith(start)) return `failed: ${error.message.slice(start.length)}`
  }
  return `failed: ${error.message}`
}

function hex(ref: BlockRef): string {
  return ref.id.toString('hex')
}
