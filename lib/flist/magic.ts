import { FlistError } from '../base/index.ts'

const SQLITE = Buffer.from('SQLite format 3\0', 'latin1')
const GZIP = Buffer.from([0x1f, 0x8b])
/** POSIX tar header, bytes. */
const TAR = { magic: 257, text: Buffer.from('ustar', 'latin1') } as const
/** Bytes that tell what a file is. */
export const HEAD_BYTES = 512

/** What the first bytes of a file say it is; undefined: nothing that an archive could be. */
export function magicOf(head: Buffer): 'sqlite' | 'tar' | undefined {
  if (head.subarray(0, GZIP.length).equals(GZIP)) return 'tar'
  if (head.subarray(TAR.magic, TAR.magic + TAR.text.length).equals(TAR.text)) return 'tar'
  return head.subarray(0, SQLITE.length).equals(SQLITE) ? 'sqlite' : undefined
}

export function unknownFormat(path: string): FlistError {
  return new FlistError('FLIST_FORMAT_UNKNOWN', `Cannot read "${path}": it is neither an fl nor a v1 archive`, {
    hint: 'Give an .fl or .flist file, or convert the image first: flistfs convert',
  })
}
