import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { only } from '../only.ts'
import { quietPort } from '../server-program.ts'
import { FLISTFS, type Lab, lacks, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const STORE = `dir:${join(PROJECT, 'fixtures/sample/store')}`

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** GET over a unix socket or an address. */
function scrape(at: { socketPath: string } | { host: string; port: number }, path = '/metrics') {
  return new Promise<{ status: number; type: string; text: string }>((done, fail) => {
    const asked = request({ ...at, path, agent: false, timeout: 120_000 }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () =>
        done({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', text }),
      )
    })
    asked.on('error', fail)
    asked.end()
  })
}

/** The text format of Prometheus, strictly: every sample is described before, no sample comes twice. Throws. */
function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = []
  const types = new Map<string, string>()
  const helped = new Set<string>()
  const seen = new Set<string>()
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  for (const line of text.split('\n').slice(0, -1)) {
    if (line === '') continue
    const help = /^# HELP ([a-z_]+) \S.*$/.exec(line)?.[1]
    const [, typed = '', type] = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line) ?? []
    if (help !== undefined) {
      if (helped.has(help)) throw new Error(`twice: ${line}`)
      helped.add(help)
      continue
    }
    if (type !== undefined) {
      types.set(typed, type)
      continue
    }
    const [, name = '', inner, number = ''] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    const base = types.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, '')
    if (!types.has(base) || !helped.has(base)) throw new Error(`not described: ${line}`)
    if (base !== name && types.get(base) !== 'histogram') throw new Error(`no histogram: ${line}`)
    if (types.get(base) === 'counter' && !name.endsWith('_total'))
      throw new Error(`a counter ends with _total: ${line}`)
    const labels: Record<string, string> = {}
    const rest = (inner ?? '').replaceAll(
      /([a-z_]+)="((?:[^"\\]|\\[\\"n])*)",?/g,
      (_all, key: string, value: string) => {
        labels[key] = value
        return ''
      },
    )
    if (rest !== '' || !Number.isFinite(Number(number))) throw new Error(`not understood: ${line}`)
    const key = `${name}{${inner}}`
    if (seen.has(key)) throw new Error(`twice: ${line}`)
    seen.add(key)
    samples.push({ name, labels, value: Number(number) })
  }
  return samples
}

mountTest('--metrics serves what stats says, on a socket and on addresses', {}, async (t, lab) => {
  const socketPath = lab.path('metrics.sock')
  const port = await quietPort('::1', '127.0.0.1')
  const places = [
    { words: `unix:${socketPath}`, at: { socketPath } },
    { words: `[::1]:${port}`, at: { host: '::1', port } },
    { words: `127.0.0.1:${port}`, at: { host: '127.0.0.1', port } },
  ] as const
  for (const { words, at } of places) {
    const secret = ['--store', STORE, '--store', '00-00=zdb://:geheim@127.0.0.1:1/ns']
    const mounted = await lab.mount(SAMPLE, { words: ['--metrics', words, ...secret] })
    await lab.ok('cat', [join(mounted.directory, 'etc/debian_version'), join(mounted.directory, 'bin/bash')])
    await until(async () => (await scrape(at).catch(() => undefined))?.status === 200)
    const { type, text } = await scrape(at)
    t.equal(type, 'text/plain; version=0.0.4; charset=utf-8')
    t.notMatch(text, 'geheim')
    const samples = parseMetrics(text)
    const stats = await lab.stats(mounted)
    const value = (name: string, labels: Record<string, string> = {}): number =>
      samples.find(
        (one) => one.name === name && Object.entries(labels).every(([key, text]) => one.labels[key] === text),
      )?.value ?? Number.NaN
    t.equal(value('flistfs_blocks'), stats.blocks.total)
    t.equal(value('flistfs_blocks_cached'), stats.blocks.cached)
    t.equal(value('flistfs_read_bytes_total'), stats.reads['bytes'])
    t.equal(value('flistfs_cache_misses_total'), stats.reads['fetched'])
    for (const [name, { count }] of Object.entries(stats.requests)) {
      const op = name.toLowerCase()
      t.equal(value('flistfs_requests_total', { op }), count, name)
      t.equal(value('flistfs_request_duration_seconds_count', { op }), count)
      t.equal(value('flistfs_request_duration_seconds_bucket', { op, le: '+Inf' }), count)
      const buckets = samples.filter((one) => one.name.endsWith('_bucket') && one.labels['op'] === op)
      t.ok(
        buckets.every((one, nth) => nth === 0 || one.value >= (buckets[nth - 1]?.value ?? 0)),
        'buckets add up',
      )
      t.ok(value('flistfs_request_duration_seconds_sum', { op }) > 0)
    }
    for (const { name, requests, failures, bytes } of stats.stores) {
      t.equal(value('flistfs_store_requests_total', { store: name }), requests, name)
      t.equal(value('flistfs_store_failures_total', { store: name }), failures)
      t.equal(value('flistfs_store_received_bytes_total', { store: name }), bytes)
    }
    t.ok(value('process_resident_memory_bytes') > 2 ** 20)
    t.equal(value('flistfs_mount_info', { mountpoint: mounted.directory, digest: `sha256:${mounted.digest}` }), 1)
    t.match(await scrape(at, '/'), { status: 404 })
    await lab.umount(mounted)
  }
})

mountTest('of two mounts at one folder the one on top is asked', {}, async (t, lab) => {
  const socketPath = lab.path('metrics.sock')
  const copy = lab.path('copy.fl')
  await lab.ok('cp', [SAMPLE, copy])
  await lab.ok('sh', [FLISTFS, 'tag', copy, 'name=copy'])
  const words = ['--metrics', `unix:${socketPath}`, '--store', STORE]
  const lower = await lab.mount(SAMPLE, { words })
  const { directory } = lower
  const upper = await lab.mount(copy, { words, directory })
  t.equal(upper.pid, lower.pid, 'one server')
  t.match(await lab.stats(lower), { digest: upper.digest })
  const trace = lab.path('trace')
  await lab.ok('sh', [FLISTFS, 'trace', directory, trace])
  await lab.ok('cat', [join(directory, 'etc/debian_version')])
  await until(() => readFileSync(trace, 'utf8').includes('"debian_version"'))
  const infos = async () =>
    parseMetrics((await scrape({ socketPath })).text).filter(({ name }) => name === 'flistfs_mount_info')
  t.match(await infos(), [{ labels: { digest: `sha256:${upper.digest}` } }])
  await lab.umount({ directory })
  t.match(await lab.stats(lower), { digest: lower.digest })
  await until(async () => only(await infos()).labels['digest'] === `sha256:${lower.digest}`)
})

mountTest('a mount goes on where its metrics have no place', {}, async (t, lab) => {
  const mounted = await lab.mount(SAMPLE, { words: ['--metrics', 'unix:/nowhere/metrics'] })
  t.match(await lab.ok('cat', [join(mounted.directory, 'etc/debian_version')]), /^12/)
  await until(() => readFileSync(mounted.log, 'utf8').includes('metrics are not served'))
  await lab.umount(mounted)
  const wrong = await lab.tryMount(SAMPLE, { words: ['--metrics', 'here'] })
  t.match(wrong, { code: 2, stderr: /Cannot serve metrics at \\?"here/ })
})

mountTest('no reader waits for the name of the metrics address', { skip: lacks('unshare', 'ip') }, async (t, lab) => {
  const [at, log] = [lab.folder('m'), lab.path('log-1')]
  writeFileSync(lab.path('resolv.conf'), 'nameserver 127.0.0.1\noptions timeout:10 attempts:1\n')
  // Who asks this name server gets no answer.
  const silent = "require('dgram').createSocket('udp4').bind(53, '127.0.0.1', () => console.log('here'))"
  writeFileSync(lab.path('silent.cjs'), `${silent}; setTimeout(() => {}, 60_000)`)
  const script = `mount --bind resolv.conf /etc/resolv.conf && ip link set lo up
    sh '${join(PROJECT, 'bin/node')}' silent.cjs >here & silent=$!
    until [ -s here ]; do sleep 0.1; done
    sh '${FLISTFS}' mount '${SAMPLE}' m --store '${STORE}' --log '${log}' --metrics slow.example:19191 || exit
    cat m/etc/debian_version && grep -c 'metrics are not served' '${log}'
    sh '${FLISTFS}' umount m; kill "$silent"`
  const { stdout, stderr } = await lab.run('unshare', ['-mn', 'sh', '-c', script], {
    env: { FLISTFS_CACHE: lab.cache },
  })
  t.match(stdout.toString(), /^12\.\d+\n0\n$/, stderr)
  t.strictSame(readdirSync(at), [])
})

mountTest('why tells of blocks, stores and errors, and never touches the mount', {}, async (t, lab) => {
  const store = lab.path('store')
  await lab.ok('cp', ['-r', join(PROJECT, 'fixtures/sample/store'), store])
  const mounted = await lab.mount(SAMPLE, { words: ['--store', `dir:${store}`, '--timeout', '1'] })
  const file = join(mounted.directory, 'bin/bash')
  t.match(await why(lab, file), {
    path: 'usr/bin/bash',
    kind: 'file',
    blocks: { total: 3, cached: 0 },
    stores: [{ requests: 0 }],
  })
  renameSync(store, `${store}-away`)
  mkdirSync(store)
  t.not((await lab.run('cat', [file])).code, 0)
  const failed = await why(lab, file)
  t.match(failed, {
    blocks: { total: 3, cached: 0 },
    absent: [{ block: 0, id: /^[0-9a-f]{64}$/, stores: [`dir:${store}`] }],
  })
  t.match(failed, { errors: [{ code: /^FLIST_/, message: /^Cannot read / }], waited: { worstMs: Number } })
  t.match((await lab.flistfs(['why', file])).stdout.toString(), /usr\/bin\/bash of [^]*STORE +STATE/)
  await lab.ok('rm', ['-r', store])
  renameSync(`${store}-away`, store)
  await until(async () => (await lab.run('cat', [file])).code === 0)
  t.match(await why(lab, file), { blocks: { total: 3, cached: 3 }, absent: { length: 0 } })
  t.match(await why(lab, join(mounted.directory, 'etc')), { kind: 'directory', path: 'etc' })
  symlinkSync(mounted.directory, lab.path('link'))
  t.match(await why(lab, lab.path('link/etc/../bin/bash')), { path: 'usr/bin/bash' }, 'by a link')
  t.match(await lab.flistfs(['why', join(mounted.directory, 'nothing')]), { code: 2, stderr: /in the archive/ })
  t.match(await lab.flistfs(['why', '/proc']), { code: 1, stderr: /on no mount/ })
  const stats = (await lab.stats(mounted)) as unknown as { waits: { path: string }[] }
  t.match(only(stats.waits), { path: 'usr/bin/bash' })
  await lab.umount(mounted)
})

async function why(lab: Lab, path: string): Promise<unknown> {
  const done = await lab.flistfs(['why', path, '--json'])
  if (done.code !== 0) throw new Error(done.stderr)
  return JSON.parse(done.stdout.toString()) as unknown
}

mountTest('log level and trace change while both threads serve', {}, async (t, lab) => {
  const first = lab.path('first.trace')
  const mounted = await lab.mount(SAMPLE, { words: ['--trace', first, '--log-level', 'error', '--store', STORE] })
  const { directory } = mounted
  await lab.ok('cat', [join(directory, 'etc/debian_version')])
  const lines = readFileSync(first, 'utf8')
  t.match(lines, /> INIT unique=\d+/)
  t.match(lines, /> LOOKUP unique=(\d+) node=1 pid=\d+ "etc"\n[^]*< LOOKUP unique=\1 ok bytes=128 us=\d+\n/)
  t.match(lines, /> READ unique=(\d+) node=\d+ pid=\d+ offset=0 size=\d+\n[^]*< READ unique=\1 ok bytes=6 us=\d+\n/)
  t.match(await lab.flistfs(['trace', directory, '--off', '--json']), { code: 0, stdout: /"trace":null/ })
  const bytes = readFileSync(first).length
  await lab.ok('ls', ['-la', join(directory, 'usr')])
  t.equal(readFileSync(first).length, bytes, 'nothing is written any more')
  const second = lab.path('second.trace')
  await lab.ok('sh', [FLISTFS, 'trace', directory, second])
  await lab.run('cat', [join(directory, 'etc/nothing')])
  t.match(readFileSync(second, 'utf8'), '"nothing"')
  t.match(await lab.flistfs(['trace', directory]), { code: 2 })
  const changed = await lab.flistfs(['log-level', directory, 'debug', '--json'])
  t.match(JSON.parse(changed.stdout.toString()), { directory, level: 'debug', before: 'error' })
  t.match(await lab.flistfs(['log-level', directory, 'loud']), { code: 2, stderr: /error, warn, info, debug/ })
  const silent = lab.folder('silent')
  await lab.ok('sh', [FLISTFS, 'mount', SAMPLE, silent, '--cache', lab.cache])
  t.match(await lab.flistfs(['log-level', directory, 'info']), { code: 0, stderr: '' })
  t.match(await lab.flistfs(['log-level', silent, 'info']), { code: 0, stderr: /Nobody hears it.*--log/ })
  await lab.umount({ directory: silent })
  await lab.umount(mounted)
  // The session thread heard it too. Where other namespaces have copies of the mount it ends after umount does.
  await until(() => readFileSync(mounted.log, 'utf8').includes(' info unmounted '), 60_000)
})

mountTest(
  'stats --watch writes lines in a pipe, one object a line with --json, and redraws on a terminal',
  {},
  async (t, lab) => {
    const mounted = await lab.mount(SAMPLE, { words: ['--store', STORE] })
    const watch = lab.start('sh', [FLISTFS, 'stats', mounted.directory, '--watch', '100ms', '--json'])
    const exit = once(watch, 'exit', { signal: AbortSignal.timeout(120_000) })
    let count = 0
    if (watch.stdout === null) throw new Error('no output')
    for await (const line of createInterface({ input: watch.stdout })) {
      const { at, mounts } = JSON.parse(line) as { at: string; mounts: { directory: string }[] }
      t.match(at, /^\d{4}-/)
      t.match(only(mounts), { directory: mounted.directory })
      count += 1
      if (count === 3) watch.kill('SIGINT')
      if (count > 20) break
    }
    t.strictSame(await exit, [0, null], 'an end by Ctrl-C is no error')
    t.ok(count >= 3)
    const program = `sh ${FLISTFS} stats --watch 100ms`
    const piped = await lab.ok('sh', ['-c', `${program} | head -n 4`])
    t.match(piped, /^TIME +HERE +READ\/S [^\n]*\n[\d:]{8} +\d+ % [^]*\n[\d:]{8}/, 'it ends with its reader')
    const terminal = lab.start('script', ['-qec', `stty rows 8 cols 40; ${program}`, '/dev/null'])
    let shown = ''
    terminal.stdout?.on('data', (bytes: Buffer) => (shown += bytes.toString()))
    const whole = (): string[] => shown.split('\u001B[H').slice(1, -1)
    await until(() => whole().length > 1)
    terminal.kill('SIGINT')
    t.ok(
      whole().every((screen) => screen.includes('archive')),
      'drawn again from the top',
    )
    const lines = whole().map((screen) => screen.split('\n').map((line) => line.split('\u001B')[0] ?? ''))
    t.ok(
      lines.every((screen) => screen.length <= 8 && screen.every((line) => line.length <= 40)),
      'no more than there is room for',
    )
    t.match(await lab.flistfs(['stats', '--watch', '1ms']), { code: 2 })
    await lab.umount(mounted)
  },
)
