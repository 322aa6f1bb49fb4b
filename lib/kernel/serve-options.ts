import type { LogLevel } from '../base/index.ts'

/** What is served, and how: plain data, which goes to the fetch thread and to a successor as it is. Paths are absolute. */
export interface ServeWords {
  /** A local file; an archive by URL or hub name has been fetched. */
  readonly archivePath: string
  /** As the user typed it, without secrets. */
  readonly archiveName: string
  /** The compiled index, present. */
  readonly indexPath: string
  /** SHA-256 of the archive, hex. */
  readonly digest: string
  /** Where to mount. */
  readonly directory: string
  /** As typed, `[xx-xx=]URL`; empty: the archive's own routes. */
  readonly stores: readonly string[]
  /** What a relative `dir:` URL is relative to: the archive's folder for its own routes, the current folder for typed ones. */
  readonly baseDir: string
  readonly cacheDir: string
  /** Undefined: `LIMITS.cacheBytesDefault`, or a quarter of the disk. */
  readonly cacheBytesMax: number | undefined
  /** Milliseconds until a read that no store serves fails. */
  readonly timeoutMs: number
  /** What becomes of a read whose stores do not answer: it fails, or waits until one does. */
  readonly onError: 'eio' | 'wait'
  readonly verifyAlways: boolean
  readonly passthrough: boolean
  readonly suid: boolean
  readonly dev: boolean
  readonly allowOther: boolean
  readonly noexec: boolean
  readonly nosymfollow: boolean
  /** What the list of mounts shows as source, and as type behind `fuse.`. */
  readonly source: string
  readonly subtype: string
  readonly logFile: string | undefined
  readonly logLevel: LogLevel
  /** Each request and reply goes to this file, until it is switched off. */
  readonly traceFile?: string | undefined
  /** Where Prometheus may ask: `unix:/path` or `host:port`. */
  readonly metrics?: string | undefined
  /** Writable by copy-on-write; changes go to `upper`, or are thrown away at the end. */
  readonly rw: { readonly upper: string | undefined } | undefined
}

export interface ServeOptions extends ServeWords {
  readonly foreground: boolean
  /** Shares no server with other mounts. */
  readonly ownProcess: boolean
  /**
   * Called once, when the first request can be answered and the record is written; with the process that serves, which is
   * another one where that took the mount. What it throws ends the mount.
   */
  readonly onReady: (server: number) => void
  /** Aborted: unmount and end. */
  readonly signal: AbortSignal
}
