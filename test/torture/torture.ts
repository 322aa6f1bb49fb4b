import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { BlockServer } from '../e2e/block-server.ts'
import { type Lab, type Mounted, PROJECT, until } from '../e2e/lab.ts'
import type { Stall } from './operations.ts'
import { descriptorsOf, memoryOf, serversOf, stuck } from './processes.ts'
import { Random } from './random.ts'
import { byTenths, faultLine, tenths, toMib } from './report.ts'
import { CacheTorment, changeStores } from './torments.ts'
import { makeTree, type Packed } from './tree.ts'

const DISK_MIB = 700
const HERD = 200
/** Milliseconds that readers may need for what they began before the end: a walk reads much, and machines are slow. */
const FINISH_MS = 180_000
/** A machine that is slow at starting servers may have one killed many times before it answers. */
const PATIENCE = '150s'
/** Descriptors of a server that has nothing to do but hold its cache; idle connections to stores close after seconds. */
const DESCRIPTORS_MAX = 72
const SETTLE_MS = 60_000
const SAMPLE_MS = 1000
/** What readers have on their way differs from moment to moment. */
const GROWTH_MAX = 48 * 1024 * 1024

export interface TortureOptions {
  readonly seconds: number
  readonly seed: number
  /** No server is killed or replaced: the one there is shows what it keeps over time. */
  readonly calm: boolean
}

/** A mount with what stands for it. */
interface Victim extends Mounted {
  readonly supervisor: number
}

/** One run: a tree, two mounts and an overlay, readers, and all that is done to them. */
export class Torture {
  /** What went wrong, one line each. */
  readonly faults: string[] = []
  readonly #events: string[] = []
  readonly #lab: Lab
  readonly #options: TortureOptions
  readonly #stores: BlockServer[] = []
  readonly #counts: Record<string, number> = {}
  readonly #endings: (() => unknown)[] = []
  #stall: Stall = { ms: 0, operation: 'nothing', path: '', at: '' }
  #upgradeMs = 0
  #peakBytes = 0
  #endBytes: number[] = []
  /** Resident bytes of all servers together, each second. */
  readonly #resident: number[] = []
  /** What of that is their own: pages of files go as the kernel needs them. */
  readonly #own: number[] = []
  #endAt = 0

  constructor(lab: Lab, options: TortureOptions) {
    this.#lab = lab
    this.#options = options
  }

  /** Runs it all. Faults are in `faults`; throws only where it could not even begin. */
  async run(): Promise<void> {
    const random = this.#random(0)
    const tree = await makeTree(this.#lab.dir, random)
    for (const _ of [0, 1]) {
      this.#stores.push(
        await BlockServer.open({ teardown: (ending: () => unknown) => this.#endings.push(ending) }, tree.store),
      )
    }
    await this.#lab.ok('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'torture', this.#lab.cache])
    const victims = await this.#mountAll(tree, random)
    const before = victims.map(({ supervisor }) => descriptorsOf(supervisor).length)
    const places = [...victims.map(({ directory }) => directory), await this.#overlay(victims)]
    this.#endAt = Date.now() + this.#options.seconds * 1000
    const thorough = this.#options.seed % 2 === 0
    const cache = new CacheTorment(this.#lab, this.#lab.cache, this.#random(1), thorough)
    const reading = this.#readers(places, tree)
    await Promise.all([
      ...(this.#options.calm ? [] : [this.#kill(victims, this.#random(2)), this.#upgrade(victims, this.#random(3))]),
      this.#loop(this.#random(4), 1000, 4000, (own) => changeStores(this.#stores, own)),
      this.#loop(this.#random(5), 1000, 5000, () => cache.one()),
      this.#herd(places, tree, this.#random(6)),
      this.#watch(victims),
    ])
    if (this.#options.calm) this.#checkFlat()
    cache.calm()
    for (const store of this.#stores) [store.behaviour, store.delayMs] = ['serve', 0]
    this.#note('all is well again')
    await reading
    await this.#compareAll(places, tree)
    await this.#checkLeft(victims, before)
    await this.#takeDown(victims, places.at(-1) ?? '')
  }

  /** What is still there, for the word of who gives up. */
  stuck(): string[] {
    return stuck((environment) => environment.includes(`FLISTFS_RUNTIME=${this.#lab.runtime}`))
  }

  /** What was done and what went wrong, in the order of their moments: lines that begin with them. */
  get events(): string[] {
    return this.#events.toSorted()
  }

  async close(): Promise<void> {
    for (const ending of this.#endings.splice(0)) await ending()
  }

  /** Lines for people. */
  summary(): string[] {
    const { kills = 0, upgrades = 0, herds = 0, torments = 0, ...operations } = this.#counts
    const sum = Object.values(operations).reduce((total, count) => total + count, 0)
    const each = Object.entries(operations).map(([name, count]) => `${name} ${count}`)
    const { ms, operation, path, at } = this.#stall
    const asked = this.#stores.map(({ requests }) => requests).join(' and ')
    return [
      `${sum} operations (${each.join(', ')}), ${herds} times ${HERD} readers of one file`,
      `${kills} kills, ${upgrades} upgrades (slowest ${this.#upgradeMs} ms), ${torments} torments, ${asked} requests to the stores`,
      `longest stall ${ms} ms (${operation} of "${path}" until ${at})`,
      `memory of a server: peak ${toMib(this.#peakBytes)}, at the end ${this.#endBytes.map(toMib).join(' and ')}`,
      ...(this.#options.calm
        ? [
            `memory of a server by tenths of the time: ${byTenths(this.#resident)}`,
            `what of that is no page of a file: ${byTenths(this.#own)}`,
          ]
        : []),
    ]
  }

  /** The first tenth fills tables and caches; from then on memory stays what it is. */
  #checkFlat(): void {
    const [, second = 0, ...rest] = tenths(this.#own)
    const last = Math.max(0, ...rest.slice(-2))
    if (last > second + GROWTH_MAX) this.fault(`memory grew from ${toMib(second)} to ${toMib(last)}`)
  }

  #random(nth: number): Random {
    return new Random(this.#options.seed * 1000 + nth)
  }

  #note(what: string): void {
    this.#events.push(`${new Date().toISOString()} ${what}`)
  }

  #count(name: string, by = 1): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + by
  }

  async #mountAll(tree: Packed, random: Random): Promise<Victim[]> {
    const size = random.pick(['60M', '350M', '10G'])
    const thorough = this.#options.seed % 2 === 0
    const shared = ['--cache-size', size, '--timeout', PATIENCE, ...this.#stores.flatMap(({ url }) => ['--store', url])]
    if (thorough) shared.push('--verify', 'always')
    const passthrough = !thorough && random.chance(0.5) ? ['--passthrough'] : []
    this.#note(`mounting with ${[...shared, ...passthrough].join(' ')}`)
    const mounted = [
      await this.#lab.mount(tree.archive, { words: [...shared, ...passthrough] }),
      await this.#lab.mount(tree.archive, { words: [...shared, '--upper', this.#lab.path('changes')] }),
    ]
    return mounted.map((mount) => ({ ...mount, supervisor: this.#supervisorOf(mount) }))
  }

  #supervisorOf({ directory }: Mounted): number {
    for (const name of readdirSync(this.#lab.runtime).filter((file) => file.endsWith('.json'))) {
      const record = JSON.parse(readFileSync(join(this.#lab.runtime, name), 'utf8')) as {
        directory: string
        supervisor?: { pid: number }
      }
      if (record.directory === directory && record.supervisor) return record.supervisor.pid
    }
    throw new Error(`no supervisor of ${directory}`)
  }

  /** An overlay of our own on the first mount. */
  async #overlay(victims: readonly Victim[]): Promise<string> {
    const [upper, work, merged] = ['upper', 'work', 'merged'].map((name) => this.#lab.folder(name))
    const options = `lowerdir=${victims[0]?.directory},upperdir=${upper},workdir=${work}`
    await this.#lab.ok('mount', ['-t', 'overlay', 'overlay', '-o', options, merged ?? ''])
    return merged ?? ''
  }

  /** Does something again and again until the end. */
  async #loop(
    random: Random,
    fromMs: number,
    toMs: number,
    act: (random: Random) => string | Promise<string>,
    endAt = this.#endAt,
  ): Promise<void> {
    for (;;) {
      const pauseMs = random.int(fromMs, toMs)
      if (Date.now() + pauseMs > endAt) return
      await sleep(pauseMs)
      this.#note(await act(random))
      this.#count('torments')
    }
  }

  /** Ends early, so that the last servers have time to show what they keep. */
  #kill(victims: readonly Victim[], random: Random): Promise<void> {
    const calmMs = Math.min(20_000, this.#options.seconds * 200)
    const act = (): string => {
      const victim = random.pick(victims)
      const servers = serversOf(victim.supervisor)
      if (servers.length === 0) return 'nobody to kill'
      const pid = random.pick(servers)
      process.kill(pid, 'SIGKILL')
      this.#count('kills')
      return `killed ${pid}, one of ${servers.length} servers of ${victim.directory}`
    }
    return this.#loop(random, 200, 1800, act, this.#endAt - calmMs)
  }

  #upgrade(victims: readonly Victim[], random: Random): Promise<void> {
    return this.#loop(random, 2000, 12_000, async () => {
      const words = random.chance(0.5) ? ['--all'] : [random.pick(victims).directory]
      const begun = performance.now()
      const done = await this.#lab.flistfs(['upgrade', ...words])
      if (done.code === 0) this.#count('upgrades')
      if (done.code === 0) this.#upgradeMs = Math.max(this.#upgradeMs, Math.round(performance.now() - begun))
      return `upgrade ${words.join(' ')} ended with ${done.code} ${done.stderr.trim()}`
    })
  }

  /** Two hundred readers of one file that was just forgotten. */
  #herd(places: readonly string[], tree: Packed, random: Random): Promise<void> {
    const script = `for n in $(seq ${HERD / 2}); do sha256sum < "$1" & dd if="$1" iflag=direct bs=1M status=none | sha256sum & done; wait`
    return this.#loop(random, 5000, 15_000, async () => {
      const name = `shared-${random.int(0, 4)}`
      await this.#lab.run('dd', [`if=${join(random.pick(places), name)}`, 'iflag=nocache', 'count=0', 'status=none'])
      const right = createHash('sha256')
        .update(readFileSync(join(tree.reference, name)))
        .digest('hex')
      const path = join(random.pick(places), name)
      const timeoutMs = Math.max(0, this.#endAt - Date.now()) + FINISH_MS
      const done = await this.#lab.run('sh', ['-c', script, 'sh', path], { timeoutMs })
      const sums = done.stdout.toString('utf8').split('\n').filter(Boolean)
      const rights = sums.filter((line) => line.startsWith(right)).length
      if (rights !== HERD) this.fault(`${rights} of ${HERD} readers of ${path} were right: ${done.stderr}`)
      this.#count('herds')
      return `${HERD} readers of ${path}`
    })
  }

  async #watch(victims: readonly Victim[]): Promise<void> {
    let sampleAt = Date.now()
    while (Date.now() < this.#endAt) {
      // They share one.
      const pids = new Set(victims.flatMap(({ supervisor }) => serversOf(supervisor)))
      for (const pid of pids) this.#peakBytes = Math.max(this.#peakBytes, memoryOf(pid, 'VmHWM'))
      if (Date.now() >= sampleAt) {
        this.#resident.push(sumOf(pids, 'VmRSS'))
        this.#own.push(sumOf(pids, 'RssAnon'))
        sampleAt += SAMPLE_MS
      }
      await sleep(200)
    }
  }

  /** Starts the readers, and waits for them as long as they may take. */
  async #readers(places: readonly string[], tree: Packed): Promise<void> {
    const readers = places.flatMap((place, at) =>
      [0, 1].map((nth) => this.#reader(place, tree, 100 + 10 * at + nth, at === 0 ? '-' : `r${nth}`)),
    )
    await Promise.all(readers)
  }

  async #reader(place: string, tree: Packed, nth: number, folder: string): Promise<void> {
    const script = [join(PROJECT, 'bin/node'), join(import.meta.dirname, 'reader.ts')]
    const words = [place, tree.reference, String(this.#options.seed * 1000 + nth), String(this.#endAt), folder]
    const timeoutMs = this.#options.seconds * 1000 + FINISH_MS
    const done = await this.#lab.run('sh', [...script, ...words], { timeoutMs })
    const lines = done.stdout.toString('utf8').split('\n').filter(Boolean)
    const last = done.code === 0 ? lines.pop() : undefined
    for (const line of lines) this.fault(`${place}: ${line}`, /"at":"([^"]+)"/.exec(line)?.[1])
    if (last === undefined) {
      this.fault(`the reader of ${place} ended with ${done.code}: ${done.stderr}`)
      return
    }
    const { counts, stall } = JSON.parse(last) as { counts: Record<string, number>; stall: Stall }
    for (const [name, count] of Object.entries(counts)) this.#count(name, count)
    if (stall.ms > this.#stall.ms) this.#stall = stall
  }

  /** Everything must have healed: each byte of each place, and the cache. */
  async #compareAll(places: readonly string[], tree: Packed): Promise<void> {
    for (const place of places) {
      const words = ['-r', '--no-dereference', '--exclude=written-*', tree.reference, place]
      const done = await this.#lab.run('diff', words, { timeoutMs: FINISH_MS })
      if (done.code !== 0) this.fault(`${place} differs at the end: ${done.stdout.toString('utf8')}${done.stderr}`)
    }
    const repair = await this.#lab.flistfs(['cache', 'verify', '--repair', '--cache', this.#lab.cache])
    this.#note(`cache verify --repair ended with ${repair.code}: ${repair.stdout.toString('utf8').trim()}`)
    const verify = await this.#lab.flistfs(['cache', 'verify', '--cache', this.#lab.cache])
    if (verify.code !== 0)
      this.fault(`cache verify ended with ${verify.code}: ${verify.stdout.toString('utf8')}${verify.stderr}`)
  }

  async #checkLeft(victims: readonly Victim[], before: readonly number[]): Promise<void> {
    const dropped = (pid: number): string[] => descriptorsOf(pid).filter((name) => name.includes('.seg (deleted)'))
    // They share one.
    const supervisors = new Set(victims.map(({ supervisor }) => supervisor))
    const servers = [...supervisors].flatMap(serversOf)
    if (servers.length !== 1) this.fault(`${servers.length} servers for ${victims.length} mounts`)
    const settled = (pid: number): boolean => dropped(pid).length === 0 && descriptorsOf(pid).length <= DESCRIPTORS_MAX
    await until(() => servers.every(settled), SETTLE_MS).catch(() => undefined)
    for (const pid of servers) {
      const held = dropped(pid)
      const open = descriptorsOf(pid)
      if (held.length > 0) this.fault(`server ${pid} holds ${held.length} removed segments: ${held[0]}`)
      if (open.length > DESCRIPTORS_MAX) this.fault(`server ${pid} holds ${open.length} descriptors: ${open.join(' ')}`)
      this.#endBytes.push(memoryOf(pid, 'VmRSS'))
      this.#peakBytes = Math.max(this.#peakBytes, memoryOf(pid, 'VmHWM'))
    }
    for (const [nth, { supervisor }] of victims.entries()) {
      const now = descriptorsOf(supervisor)
      if (now.length !== before[nth]) this.fault(`supervisor ${supervisor} holds ${now.join(' ')}`)
    }
    // A process may be in D for a moment; one that stays there is stuck.
    let lines: string[] = []
    await until(() => (lines = this.stuck()).length === 0, SETTLE_MS).catch(() => undefined)
    for (const line of lines) this.fault(line)
  }

  async #takeDown(victims: readonly Victim[], overlay: string): Promise<void> {
    await this.#lab.ok('umount', [overlay])
    for (const victim of victims) await this.#lab.umount(victim)
    // The last mount is gone a moment before its server and supervisor.
    await until(() => this.#lab.servers().length === 0, SETTLE_MS).catch(() => undefined)
    const servers = this.#lab.servers()
    if (servers.length > 0) this.fault(`processes left: ${servers.join(' ')}`)
    const left = readdirSync(this.#lab.runtime)
    if (left.length > 0) this.fault(`left in the runtime folder: ${left.join(' ')}`)
    // A process that ends has no environment any more a moment before it has no files.
    const given = async (): Promise<boolean> => (await this.#lab.run('umount', [this.#lab.cache])).code === 0
    await until(given, SETTLE_MS).catch(() => this.fault('the cache folder is still in use'))
  }

  /** Notes what went wrong, and when it was, where that was not now. */
  fault(what: string, at?: string): void {
    this.faults.push(what)
    this.#events.push(faultLine(what, at))
  }
}

function sumOf(pids: ReadonlySet<number>, what: 'VmRSS' | 'RssAnon'): number {
  return [...pids].reduce((sum, pid) => sum + memoryOf(pid, what), 0)
}
