import { readFileSync, readlinkSync } from 'node:fs'
import { describeError, displayBytes, FlistError, LOG_LEVELS, type Log, type LogLevel } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import {
  type ControlRequest,
  type Counters,
  type FetchServer,
  loadState,
  saveState,
  type Trace,
} from '../kernel/index.ts'
import type { CachedReader, RoutedReader } from '../store/index.ts'
import type { BlockTable, Fetcher } from '../vfs/index.ts'
import type { FetchMountData } from './fetch-mount.ts'
import type { Legacy } from './served-mount.ts'
import { explainFile } from './why-answer.ts'

/** Files shown as waited for most. */
const TOP_FILES = 10

export interface ServerParts {
  readonly data: FetchMountData
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly index: FlistIndex
  readonly table: BlockTable
  readonly fetcher: Fetcher
  readonly reader: CachedReader
  readonly stores: RoutedReader
  readonly server: FetchServer
  readonly counters: Counters
  readonly trace: Trace
  readonly log: Log
  /** Mounts that this process serves. */
  readonly mounts: () => number
}

/** What a server answers on its control socket. */
export class ServerAnswers {
  readonly #parts: ServerParts

  constructor(parts: ServerParts) {
    this.#parts = parts
  }

  /** Throws FLIST_USAGE for what is not known. */
  answer(request: ControlRequest): unknown {
    switch (request.op) {
      case 'stats':
        return this.stats()
      case 'why':
        return explainFile(this.#parts, pathOf(request))
      case 'log-level':
        return this.#logLevel(request['level'])
      case 'trace':
        return this.#trace(request['file'])
      default:
        throw new FlistError('FLIST_USAGE', `Cannot answer "${request.op}": this server is of another version`, {
          hint: 'Mount the archive again to have its server of this version',
        })
    }
  }

  stats() {
    const { data, startedAt, index, table, reader, stores, server, counters, trace, log, mounts } = this.#parts
    return {
      archive: data.archiveName,
      digest: data.digest,
      uptimeSeconds: (Date.now() - startedAt) / 1000,
      entries: index.rowCount,
      contentBytes: index.contentBytes,
      blocks: { total: index.blockCount, cached: table.filled },
      reads: {
        bytes: counters.get('bytesRead') + counters.get('fetchedBytesRead'),
        fromCache: counters.get('readsFromCache'),
        fetched: counters.get('readsFetched'),
        waiting: server.waiting,
        errors: counters.get('errors'),
        interrupted: counters.get('interrupted'),
      },
      cache: reader.counters,
      requests: counters.requests(),
      stores: stores.stats(),
      waits: server.waits.top(TOP_FILES).map(({ row, waits, totalMs, worstMs }) => ({
        path: displayBytes(index.pathOf(row)),
        waits,
        totalMs: rounded(totalMs),
        worstMs: rounded(worstMs),
      })),
      memory: {
        rssBytes: process.memoryUsage.rss(),
        mappedIndexBytes: residentOf(data.indexPath),
        sharedByMounts: mounts(),
      },
      logLevel: log.level,
      trace: trace.on ? trace.path : undefined,
    }
  }

  #logLevel(level: unknown): unknown {
    const { log, data } = this.#parts
    const before = log.level
    if (typeof level !== 'string' || !(level in LOG_LEVELS)) {
      throw new FlistError('FLIST_USAGE', `Cannot set the log level to "${describeError(level)}"`, {
        hint: `Name one of ${Object.keys(LOG_LEVELS).join(', ')}`,
      })
    }
    log.level = level as LogLevel
    this.#keep({ logLevel: log.level })
    const isHeard = data.logFile !== undefined || readlinkSync('/proc/self/fd/2') !== '/dev/null'
    return { level, before, isHeard }
  }

  /** A path switches it on, anything else off. */
  #trace(file: unknown): unknown {
    const { trace, data } = this.#parts
    if (data.fd === undefined) {
      throw new FlistError('FLIST_USAGE', 'Cannot trace a mount by fuse-native: libfuse alone sees its requests')
    }
    if (typeof file === 'string') trace.start(file)
    else trace.stop()
    this.#keep({ traceFile: trace.on ? trace.path : undefined })
    return { trace: trace.on ? trace.path : null }
  }

  /** For the server that comes after this one. */
  #keep(changed: Partial<Legacy['options']>): void {
    const { id } = this.#parts.data
    const legacy = loadState(id, 'state') as Legacy | undefined
    if (legacy !== undefined) saveState(id, 'state', { ...legacy, options: { ...legacy.options, ...changed } })
  }
}

/** A path's bytes may be no text: they come as hex digits. */
function pathOf(request: ControlRequest): Buffer {
  const hex = request['path']
  if (typeof hex === 'string' && /^(?:[0-9a-f]{2})*$/.test(hex)) return Buffer.from(hex, 'hex')
  throw new FlistError('FLIST_USAGE', 'Cannot answer "why" without a path')
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10
}

/** Resident bytes of a mapped file in this process, from /proc/self/smaps. */
function residentOf(path: string): number {
  let bytes = 0
  let inside = false
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) inside = line.endsWith(path)
    else if (inside && line.startsWith('Rss:')) bytes += Number(/\d+/.exec(line)?.[0] ?? 0) * 1024
  }
  return bytes
}
