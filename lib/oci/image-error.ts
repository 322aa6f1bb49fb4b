import { FlistError } from '../base/index.ts'

const HINT = 'Fetch the image again; if it stays so, whoever made it must make it anew'

/** The image breaks a rule, or reaches where it must not. `what` names the thing: `layer 2, entry "a/b"`. */
export function imageDamaged(what: string, why: string, cause?: unknown): FlistError {
  const options = cause === undefined ? { hint: HINT } : { hint: HINT, cause }
  return new FlistError('FLIST_IMAGE_DAMAGED', `Cannot use ${what}: ${why}`, options)
}

export function imageLimit(what: string, why: string): FlistError {
  return new FlistError('FLIST_LIMIT', `Cannot use ${what}: ${why}`, {
    hint: 'Where the image is right and that large, make it smaller: the limits are those of lib/base/limits.ts',
  })
}
