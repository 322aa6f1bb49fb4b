import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { goldenDir } from '../golden.ts'
import { writeLayout } from '../oci/make-image.ts'
import { FLISTFS, type Lab, lacks, mountTest, PROJECT } from './mounted.ts'

const golden = goldenDir() ?? ''
const sample = join(PROJECT, 'fixtures/sample')
/** Archives and their stores; the golden set where it is. */
const ARCHIVES: readonly (readonly [string, string])[] = (
  [
    [`${sample}/debian.fl`, `${sample}/store`],
    [`${golden}/fl/hand.fl`, `${golden}/fl/store`],
    [`${golden}/v1/debian.flist`, `${golden}/v1/store`],
    [`${golden}/v1/nasty.flist`, `${golden}/v1/store`],
  ] as const
).filter(([archive]) => existsSync(archive))
const FORMAT = String.raw`%p|%P|%f|%h|%s|%m|%M|%U|%G|%n|%i|%d|%y|%l|%T@|%b|%k\n`
const env = { LC_ALL: 'C', TZ: 'UTC' }

/** Both answers as bytes: names may be anything. */
async function both(
  lab: Lab,
  ours: readonly string[],
  tool: readonly string[],
  cwd: string,
): Promise<[string, string]> {
  const [a, b] = await Promise.all([lab.flistfs(ours, { env }), lab.run(tool[0] ?? '', tool.slice(1), { cwd, env })])
  return [`${a.stderr}${a.stdout.toString('latin1')}`, `${b.stderr}${b.stdout.toString('latin1')}`]
}

const FINDS: readonly (readonly string[])[] = [
  ['.', '-printf', FORMAT],
  ['.', '-type', 'f', '-size', '+3k', '-size', '-2M'],
  ['.', '(', '-name', '*.so*', '-o', '-iname', '[A-D]*', ')', '!', '-type', 'd'],
  ['.', '-perm', '-111', '-type', 'f,l', '-print0'],
  ['.', '-perm', '/6000'],
  ['.', '-maxdepth', '2', '-mindepth', '1', '-empty'],
  ['.', '-path', '*/s*', '-prune', '-o', '-links', '+1', '-print'],
  ['.', '-mtime', '+30', '-uid', '0', '-not', '-name', '?*e*'],
  ['.', '-newermt', '2020-01-01', '-type', 'l', '-printf', String.raw`%f -> %l\0`],
]

for (const [archive, store] of ARCHIVES) {
  mountTest(
    `${archive.replace(/.*\//, '')} is listed and searched as ls and find do on its mount`,
    { skip: lacks('find', 'ls') },
    async (t, lab) => {
      const { directory } = await lab.mount(archive, { words: ['--store', `dir://${store}`] })
      for (const words of FINDS) {
        const [ours, real] = await both(lab, ['find', archive, ...words], ['find', ...words], directory)
        t.ok(ours === real, `find ${words.join(' ')}`, { diff: firstDifference(ours, real) })
      }
      for (const options of ['-lA', '-lAR', '-liS', '-ltr', '-R', '-dl']) {
        const list = ['ls', '-n', '--time-style=long-iso', options, '.']
        // ls(1) asks for numbers with -n, which means -l too.
        if (options === '-R') list.splice(1, 1)
        const [ours, real] = await both(lab, ['ls', archive, options, '.'], list, directory)
        t.ok(ours === real, `ls ${options}`, { diff: firstDifference(ours, real) })
      }
      const entries = JSON.parse(await lab.ok(...program(['ls', archive, '--json']))) as {
        path: string
        type: string
      }[]
      const folder = entries.find(({ type }) => type === 'directory')?.path ?? ''
      const list = ['ls', '-lan', '--time-style=long-iso', folder]
      const [ours, real] = await both(lab, ['ls', archive, '-la', folder], list, directory)
      t.ok(ours === real, `ls -la ${folder}`, { diff: firstDifference(ours, real) })
    },
  )
}

mountTest('cat prints what a mount has, and says what it cannot', {}, async (t, lab) => {
  const archive = `${sample}/debian.fl`
  const { directory } = await lab.mount(archive)
  const paths = ['usr/lib/x86_64-linux-gnu/libc.so.6', 'etc/os-release', '/usr/bin/bash']
  const ours = await lab.flistfs(['cat', archive, ...paths])
  const real = await lab.run(
    'cat',
    paths.map((path) => path.replace(/^\//, '')),
    { cwd: directory },
  )
  t.equal(ours.code, 0, ours.stderr)
  t.ok(ours.stdout.equals(real.stdout), `${real.stdout.length} bytes`)
  const refused = await lab.flistfs(['cat', archive, 'etc', '--json'])
  t.equal(refused.code, 2)
  t.match(JSON.parse(refused.stderr), { error: { code: 'FLIST_USAGE', message: /"etc": it is a directory/ } })
  const dead = await lab.flistfs([
    'cat',
    archive,
    'usr/bin/bash',
    '--json',
    '--store',
    `dir://${lab.path('none')}`,
    '--cache',
    lab.folder('cold'),
  ])
  t.equal(dead.code, 11, dead.stderr)
  t.equal(dead.stdout.length, 0)
})

mountTest('looking into archives tells what they are and what they share', {}, async (t, lab) => {
  const archive = `${sample}/debian.fl`
  const seen = JSON.parse(await lab.ok(...program(['inspect', archive, '--json']))) as Record<string, unknown>
  t.match(seen, {
    format: 'fl',
    digest: /^[0-9a-f]{64}$/,
    summary: { entries: { directory: 64, link: 32, file: 170 }, blocks: { references: 176, unique: 176 } },
    largest: { path: 'usr/lib/x86_64-linux-gnu/libc.so.6' },
    routes: [{ range: '00-ff', url: 'dir:store' }],
    cached: { blocks: 0, bytes: 0 },
  })
  const [root] = JSON.parse(await lab.ok(...program(['stat', archive, '/', '--json']))) as Record<string, unknown>[]
  t.match(root, { path: '', type: 'directory', mode: /^0755|0700$/, ino: 1 })
  const copy = lab.path('copy.fl')
  await lab.ok('cp', [archive, copy])
  const use = JSON.parse(await lab.ok(...program(['du', archive, copy, '--json']))) as Record<string, unknown>
  t.match(use, {
    blocks: 176,
    archives: [
      { onlyHereBytes: 0, blocks: 176 },
      { onlyHereBytes: 0, blocks: 176 },
    ],
  })
  const drawn = await lab.ok(...program(['tree', archive, 'etc', '-L', '1']))
  t.match(drawn, /^etc\n├── .*\n(├── .*\n)*└── .*\n\n\d+ directories, \d+ files\n$/)
  const head = await lab.run('sh', ['-c', `sh '${FLISTFS}' find '${archive}' | head -1`])
  t.equal(head.stdout.toString(), '.\n', 'a reader that leaves early is no error')
  t.equal(head.stderr, '')
})

mountTest(
  'names that are not UTF-8 are taken as they are printed',
  { skip: lacks('xargs', 'script') },
  async (t, lab) => {
    const name = Buffer.from('caf\xe9 gr\xc3\xbcn', 'latin1')
    const tree = lab.folder('tree')
    mkdirSync(Buffer.concat([Buffer.from(`${tree}/`), name]))
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), name, Buffer.from('/\x85\xff', 'latin1')]), 'content')
    const archive = lab.path('a.fl')
    const stores = ['--store', `dir://${lab.folder('store')}`]
    await lab.ok(...program(['pack', tree, archive, ...stores]))
    /** The words after the script are $0, $1 ...; what is printed, a character a byte. */
    const sh = async (script: string): Promise<string> => {
      const { stdout, stderr } = await lab.run('sh', ['-c', script, FLISTFS, archive])
      return stdout.toString('latin1') + stderr
    }
    const file = 'caf\xe9 gr\xc3\xbcn/\x85\xff'
    t.equal(await sh('sh "$0" find "$1" -type f -printf "%P\\\\0" | xargs -0 sh "$0" ls "$1"'), `${file}\n`)
    t.equal(await sh('sh "$0" find "$1" -type f -print0 | xargs -0 sh "$0" cat "$1"'), 'content')
    t.equal(
      await sh('sh "$0" ls "$1" | xargs -d "\\n" sh "$0" tree "$1" --json'),
      '{"path":"caf\\\\xe9 gr\\\\xc3\\\\xbcn","folders":0,"others":1}\n',
    )
    t.match(
      await sh('sh "$0" stat "$1" "$(printf "caf\\351 gr\\303\\274n")" --json'),
      '"pathHex":"636166e9206772c3bc6e"',
    )
    t.equal(await sh('sh "$0" find "$1" -name "$(printf "?\\377")"'), `./${file}\n`)
    t.equal(await sh('sh "$0" find "$1" "$(printf "caf\\351 gr\\303\\274n")" -type f'), `${file}\n`)
    t.match(await sh('sh "$0" cat "$1" "$(printf "caf\\351/x")"'), String.raw`Cannot find "caf\xe9/x"`)
    t.match(
      await sh('sh "$0" cat "$1" "$(printf "caf\\351 \\303\\274")" --json'),
      String.raw`Cannot find \"caf\\xe9 \\xc3\\xbc\"`,
    )
    const terminal = await lab.run('script', ['-qefc', `exec sh '${FLISTFS}' ls '${archive}'`, '/dev/null'])
    t.equal(terminal.stdout.toString(), String.raw`caf\xe9 grün`.concat('\r\n'), "as a shell takes it in $'...'")
    await sh('sh "$0" edit "$1" mv "$(printf "caf\\351 gr\\303\\274n")" "$(printf "\\377")"')
    t.equal(await sh('sh "$0" ls "$1"'), '\xff\n')
    await sh('printf "mkdir \\376\\nln -s ../\\377 \\376/\\375\\n" | sh "$0" edit "$1" -')
    t.equal(await sh('sh "$0" find "$1" -type l -printf "%p %l"'), './\xfe/\xfd ../\xff')
    const { directory } = await lab.mount(archive)
    const why = await lab.run('sh', [
      '-c',
      `exec sh "$0" why "$1/$(printf '\\376/\\375/\\205\\377')" --json`,
      FLISTFS,
      directory,
    ])
    t.match(JSON.parse(why.stdout.toString()), { pathHex: 'ff2f85ff', size: 7, changed: false }, why.stderr)
  },
)

function program(words: readonly string[]): [string, string[]] {
  return ['sh', [FLISTFS, ...words]]
}

/** A word for a person: whole listings are megabytes. */
function firstDifference(ours: string, real: string): string {
  const [a, b] = [ours.split('\n'), real.split('\n')]
  const at = a.findIndex((line, nth) => line !== b[nth])
  return at < 0 ? `${a.length} lines, ${b.length} lines` : `line ${at}: ${a[at] ?? ''} <> ${b[at] ?? ''}`
}

// oxlint-disable-next-line no-control-regex -- they are what is looked for
const OBEYED = /[\u001b\u0007\u009b]/

mountTest('a terminal obeys nothing that stands in an archive or image', { skip: lacks('script') }, async (t, lab) => {
  const evil = '\u001b]0;evil\u0007\u009b31m'
  const shown = String.raw`\x1b]0;evil\x07\xc2\x9b31m`
  const tree = lab.folder('tree')
  writeFileSync(join(tree, evil), 'x')
  const archive = lab.path('a.fl')
  const store = `dir://${lab.folder('store')}`
  await lab.ok(...program(['pack', tree, archive, '--store', store]))
  const onTerminal = async (words: readonly string[]): Promise<string> => {
    const command = ['exec', 'sh', FLISTFS, ...words].map((word) => `'${word}'`).join(' ')
    const { stdout } = await lab.run('script', ['-qefc', command, '/dev/null'], { env: { NODE_OPTIONS: '' } })
    return stdout.toString()
  }
  const looks = [['ls'], ['ls', '-l'], ['tree'], ['find'], ['find', '--json'], ['stat']]
  for (const [verb = '', ...words] of looks) {
    const text = await onTerminal([verb, archive, ...(verb === 'stat' ? [evil] : words)])
    t.match(text, 'evil', verb)
    t.notMatch(text, OBEYED, `${verb} ${words.join(' ')} on a terminal`)
  }
  t.ok((await onTerminal(['ls', archive])).includes(shown), 'it is escaped')
  const piped = await lab.flistfs(['ls', archive])
  t.equal(piped.stdout.toString(), `${evil}\n`, 'a pipe has the bytes')
  writeLayout(lab.path('layout'), { [evil]: { layers: [] }, other: { layers: [] } })
  const tags = await lab.flistfs(['convert', `oci:${lab.path('layout')}`, lab.path('b.fl'), '--store', store])
  t.match(tags.stderr, shown, 'tags in a hint')
  t.notMatch(tags.stderr, OBEYED)
})
