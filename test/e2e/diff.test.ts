import { join } from 'node:path'
import { type Lab, mountTest, PROJECT } from './mounted.ts'

const sample = join(PROJECT, 'fixtures/sample')
const ARCHIVE = `${sample}/debian.fl`

interface Line {
  readonly path: string
  readonly change: string
  readonly differences: readonly string[]
}

async function diff(lab: Lab, ...words: readonly string[]): Promise<{ code: number; lines: Line[]; stderr: string }> {
  const done = await lab.flistfs(['diff', ...words, '--json'])
  return { ...done, lines: done.code > 1 ? [] : (JSON.parse(done.stdout.toString('utf8')) as Line[]) }
}

mountTest('a folder that was copied from a mount is as its archive, until it is changed', {}, async (t, lab) => {
  const { directory } = await lab.mount(ARCHIVE)
  const copy = lab.path('copy')
  await lab.ok('cp', ['-a', directory, copy])
  const same = await diff(lab, ARCHIVE, copy)
  t.equal(same.code, 0, same.stderr)
  t.strictSame(same.lines, [])
  await lab.ok('sh', ['-c', CHANGES], { cwd: copy })
  const { code, lines } = await diff(lab, ARCHIVE, copy, '--ignore', 'mtime')
  t.equal(code, 1)
  t.strictSame(
    lines.map(({ path, change, differences }) => [change, path, ...differences]),
    [
      ['changed', 'boot', 'mode'],
      ['added', 'boot/new'],
      ['added', 'boot/new/deep'],
      ['changed', 'etc/os-release', 'target'],
      ['changed', 'lib64', 'type', 'mode'],
      ['changed', 'usr/bin/bash', 'content'],
      ['changed', 'usr/bin/cat', 'links'],
      ['removed', 'usr/bin/echo'],
      ['changed', 'usr/bin/env', 'owner', 'xattrs'],
      ['added', 'usr/bin/kitten'],
    ],
  )
  const back = await diff(lab, copy, ARCHIVE, '--ignore', 'mtime')
  const turned = { added: 'removed', removed: 'added', changed: 'changed' } as Record<string, string>
  t.strictSame(
    back.lines.map(({ path, change }) => [turned[change], path]),
    lines.map(({ path, change }) => [change, path]),
    'the other way round',
  )
  const text = await lab.flistfs(['diff', ARCHIVE, copy, '--ignore', 'mtime', '--stat'])
  t.match(text.stdout.toString(), /^added +3\nremoved +1\nchanged +6\n/)
})

/** Sizes stay, so that only hashes can tell. */
const CHANGES = String.raw`
set -e
mkdir -p boot/new; touch boot/new/deep; chmod 700 boot
ln -sfn elsewhere etc/os-release
rm lib64; mkdir lib64
printf X | dd of=usr/bin/bash bs=1 seek=600000 conv=notrunc status=none
ln usr/bin/cat usr/bin/kitten
rm usr/bin/echo
chown 7:8 usr/bin/env; setfattr -n user.note -v x usr/bin/env
`

mountTest('what cannot be compared is named', {}, async (t, lab) => {
  const absent = await lab.flistfs(['diff', ARCHIVE, lab.path('nothing'), '--json'])
  t.equal(absent.code, 10)
  const wrong = await lab.flistfs(['diff', ARCHIVE, ARCHIVE, '--ignore', 'colour', '--json'])
  t.equal(wrong.code, 2)
  t.match(wrong.stderr, 'Cannot ignore')
})
