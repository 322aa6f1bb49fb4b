import { readdirSync } from 'node:fs'
import { type Metric, Registry } from 'prom-client'
import { packageVersion } from '../base/index.ts'
import type { RequestTimes } from '../kernel/index.ts'
import type { SourceStats } from '../store/index.ts'
import type { ServerAnswers, ServerParts } from './server-answers.ts'

/** Stores with a label of their own; what is beyond them is one sum. */
const STORES_MAX = 100
/** The last bucket with a bound: 2^26 us, about a minute. */
const LAST_BUCKET = 26

type Labels = Readonly<Record<string, string>>
interface Value {
  readonly value: number
  readonly labels: Labels
  /** Where it is not the metric's own. */
  readonly metricName?: string
}
type Stats = ReturnType<ServerAnswers['stats']>
type StoreNumber = 'requests' | 'failures' | 'missing' | 'bytes' | 'latencyMsSum'
type Read = (stats: Stats, parts: ServerParts) => number | Value[]

/** A mount that is watched. */
interface Member {
  readonly parts: ServerParts
  readonly answers: ServerAnswers
  stats: Stats
}

/** What a server has done for its mounts, as Prometheus reads it. The numbers are those of `stats`, taken anew each time. */
export class Metrics {
  readonly #registry = new Registry()
  readonly #members = new Map<ServerParts, Member>()

  constructor() {
    this.#addServer()
    this.#addReads()
    this.#addStores()
    this.#addProcess()
  }

  add(parts: ServerParts, answers: ServerAnswers): void {
    this.#members.set(parts, { parts, answers, stats: answers.stats() })
  }

  remove(parts: ServerParts): void {
    this.#members.delete(parts)
  }

  render(): Promise<string> {
    for (const member of this.#members.values()) member.stats = member.answers.stats()
    return this.#registry.metrics()
  }

  /** A metric that is read when it is asked for. prom-client's own kinds only count up by themselves. */
  #add(name: string, type: 'counter' | 'gauge' | 'histogram', help: string, read: Read): void {
    this.#register(name, type, help, () => this.#seen().flatMap((member) => valuesOf(member, read)))
  }

  /** Of two mounts at one folder the one on top: two values with the same labels would be none. */
  #seen(): Member[] {
    return [...new Map([...this.#members.values()].map((member) => [member.parts.data.directory, member])).values()]
  }

  /** Of the process, whatever it serves. */
  #addOne(name: string, type: 'counter' | 'gauge', help: string, read: () => number): void {
    this.#register(name, type, help, () => [{ value: read(), labels: {} }])
  }

  #register(name: string, type: string, help: string, read: () => Value[]): void {
    const get = async () => ({ name, help, type, values: read() })
    this.#registry.registerMetric({ name, help, get } as unknown as Metric)
  }

  #addServer(): void {
    const build = [{ value: 1, labels: { version: packageVersion(), node: process.versions.node } }]
    this.#register('flistfs_build_info', 'gauge', 'Version of flistfs and of its Node.js', () => build)
    this.#add('flistfs_mount_info', 'gauge', 'What is mounted where', (_stats, { data }) => {
      const { directory, archiveName, digest } = data
      return [{ value: 1, labels: { mountpoint: directory, archive: archiveName, digest: `sha256:${digest}` } }]
    })
    this.#add('flistfs_entries', 'gauge', 'Entries of the archive', (stats) => stats.entries)
    this.#add('flistfs_content_bytes', 'gauge', 'Bytes of all files of the archive', (stats) => stats.contentBytes)
    this.#add('flistfs_blocks', 'gauge', 'Blocks of the archive', (stats) => stats.blocks.total)
    this.#add('flistfs_blocks_cached', 'gauge', 'Blocks known to be in the cache', (stats) => stats.blocks.cached)
    this.#add('flistfs_requests_total', 'counter', 'Requests of the kernel', (stats) =>
      Object.entries(stats.requests).map(([name, { count }]) => ({ value: count, labels: { op: opOf(name) } })),
    )
    const help = 'Time until the reply, waits for stores included'
    this.#add('flistfs_request_duration_seconds', 'histogram', help, (_stats, { counters }) =>
      [...counters.times()].flatMap(([name, times]) => histogram(opOf(name), times)),
    )
    this.#add(
      'flistfs_interrupts_total',
      'counter',
      'Requests given up by their reader',
      (stats) => stats.reads.interrupted,
    )
  }

  #addReads(): void {
    const add = (name: string, help: string, read: (stats: Stats) => number): void =>
      this.#add(name, 'counter', help, read)
    add('flistfs_read_bytes_total', 'Bytes given to readers', (stats) => stats.reads.bytes)
    add('flistfs_read_errors_total', 'Reads that failed', (stats) => stats.reads.errors)
    add('flistfs_cache_hits_total', 'Reads answered from the cache at once', (stats) => stats.reads.fromCache)
    add(
      'flistfs_cache_misses_total',
      'Reads that something had to be fetched or looked up for',
      (stats) => stats.reads.fetched,
    )
    add('flistfs_blocks_fetched_total', 'Blocks fetched from stores', (stats) => stats.cache.fetched)
    add('flistfs_fetched_bytes_total', 'Plain bytes of the blocks fetched', (stats) => stats.cache.bytesFetched)
    add('flistfs_fetch_failures_total', 'Blocks that no store gave', (stats) => stats.cache.failures)
    this.#add('flistfs_waiting_reads', 'gauge', 'Reads that wait now', (stats) => stats.reads.waiting)
  }

  #addStores(): void {
    const add = (name: string, help: string, key: StoreNumber, scale = 1): void =>
      this.#add(name, 'counter', help, (stats) => byStore(stats.stores, (store) => store[key] * scale))
    add('flistfs_store_requests_total', 'Requests to a store', 'requests')
    add(
      'flistfs_store_failures_total',
      'Requests to a store that failed, and blocks from it that were corrupt',
      'failures',
    )
    add('flistfs_store_missing_total', 'Blocks that a store does not have', 'missing')
    add('flistfs_store_received_bytes_total', 'Stored bytes received from a store', 'bytes')
    add('flistfs_store_request_seconds_total', 'Time that requests to a store took, added up', 'latencyMsSum', 0.001)
    this.#add(
      'flistfs_store_up',
      'gauge',
      '1 where a store is asked, 0 where it is left alone after failures',
      (stats) => byStore(stats.stores, ({ state }) => (state === 'open' ? 0 : 1)),
    )
  }

  #addProcess(): void {
    const startedAt = Date.now() / 1000 - process.uptime()
    this.#addOne('process_start_time_seconds', 'gauge', 'When the process began, since 1970', () => startedAt)
    this.#addOne('process_resident_memory_bytes', 'gauge', 'Resident memory', () => process.memoryUsage.rss())
    this.#addOne('process_cpu_seconds_total', 'counter', 'Processor time, user and system', () => {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e6
    })
    this.#addOne('process_open_fds', 'gauge', 'Open descriptors', () => readdirSync('/proc/self/fd').length)
  }
}

/** What is read of one mount, with its label. */
function valuesOf({ stats, parts }: Member, read: Read): Value[] {
  const got = read(stats, parts)
  const mount = parts.data.directory
  if (typeof got === 'number') return [{ value: got, labels: { mount } }]
  return got.map((value) => ({ ...value, labels: { mount, ...value.labels } }))
}

function opOf(name: string): string {
  return name.toLowerCase()
}

function histogram(op: string, { buckets, sumUs }: RequestTimes): Value[] {
  const metric = 'flistfs_request_duration_seconds'
  const values: Value[] = []
  let count = 0
  for (const [nth, inBucket] of buckets.entries()) {
    count += inBucket
    if (nth > LAST_BUCKET) continue
    values.push({ metricName: `${metric}_bucket`, value: count, labels: { op, le: String(2 ** nth / 1e6) } })
  }
  values.push({ metricName: `${metric}_bucket`, value: count, labels: { op, le: '+Inf' } })
  values.push({ metricName: `${metric}_sum`, value: sumUs / 1e6, labels: { op } })
  values.push({ metricName: `${metric}_count`, value: count, labels: { op } })
  return values
}

/** Two routes may be one store by name; the labels of an endless list of stores would be too many. */
function byStore(stores: readonly SourceStats[], value: (store: SourceStats) => number): Value[] {
  const sums = new Map<string, number>()
  for (const store of stores) {
    const name = sums.has(store.name) || sums.size < STORES_MAX ? store.name : 'others'
    sums.set(name, (sums.get(name) ?? 0) + value(store))
  }
  return [...sums].map(([store, sum]) => ({ value: sum, labels: { store } }))
}
