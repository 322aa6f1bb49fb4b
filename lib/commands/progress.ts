import { displaySize } from '../base/index.ts'

/** Milliseconds until a first line: what is quick needs none. */
const FIRST_MS = 500
const EVERY_MS = 200

export interface Progress {
  readonly onProgress: ((bytes: number, total: number | undefined) => void) | undefined
  /** Clears the line. */
  end(): void
}

/**
 * One line on a terminal that says how far a download, or other work on bytes, is; nothing in a pipe. Whether it is a terminal
 * is asked when there is something to say: Node loads 4 ms of modules to know.
 */
export function archiveProgress(
  write: ((text: string) => void) | undefined,
  name: string,
  isTerminal: boolean | (() => boolean),
  doing = 'Fetching',
): Progress {
  if (write === undefined || isTerminal === false) return { onProgress: undefined, end: () => undefined }
  const begun = performance.now()
  let last = begun + FIRST_MS - EVERY_MS
  let shown = false
  let known: boolean | undefined
  return {
    onProgress: (bytes, total) => {
      const now = performance.now()
      if (now - last < EVERY_MS) return
      last = now
      known ??= typeof isTerminal === 'boolean' ? isTerminal : isTerminal()
      if (!known) return
      shown = true
      const part = total === undefined ? '' : ` of ${displaySize(total)} (${Math.floor((100 * bytes) / total)} %)`
      write(`\r\u001b[K${doing} ${name}: ${displaySize(bytes)}${part}`)
    },
    end: () => {
      if (shown) write('\r\u001b[K')
    },
  }
}

export interface PackingProgress {
  readonly onProgress: ((done: { bytes: number; entries: number }) => void) | undefined
  /** Clears the line. */
  end(): void
}

/** The same for packing: entries, bytes read, and how fast. */
export function packProgress(
  write: ((text: string) => void) | undefined,
  isTerminal: boolean | (() => boolean),
): PackingProgress {
  if (write === undefined || isTerminal === false) return { onProgress: undefined, end: () => undefined }
  const begun = performance.now()
  let last = begun + FIRST_MS - EVERY_MS
  let shown = false
  let known: boolean | undefined
  return {
    onProgress: ({ bytes, entries }) => {
      const now = performance.now()
      if (now - last < EVERY_MS) return
      last = now
      known ??= typeof isTerminal === 'boolean' ? isTerminal : isTerminal()
      if (!known) return
      shown = true
      const rate = displaySize(Math.round((bytes * 1000) / (now - begun)))
      write(`\r\u001b[KPacking: ${entries} entries, ${displaySize(bytes)} read, ${rate}/s`)
    },
    end: () => {
      if (shown) write('\r\u001b[K')
    },
  }
}
