import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Done, FLISTFS, type Lab, mountTest, PROJECT } from './mounted.ts'

const sample = join(PROJECT, 'fixtures/sample')
const ARCHIVE = `${sample}/debian.fl`

async function differences(lab: Lab, a: string, b: string): Promise<string> {
  const done = await lab.flistfs(['diff', a, b, '--ignore', 'mtime'])
  return done.stdout.toString('latin1') + done.stderr
}

async function copy(lab: Lab): Promise<{ archive: string; store: string }> {
  const archive = lab.path('mine.fl')
  const store = lab.path('store')
  await lab.ok('sh', [
    '-c',
    `cp '${ARCHIVE}' '${archive}' && chmod 600 '${archive}' && cp -r '${sample}/store' '${store}'`,
  ])
  return { archive, store }
}

/** The same words do the same to an archive and, without the braces, to a folder. */
const COMMANDS = String.raw`
rm -r usr/share/doc
mv etc/os-release etc/release
mv usr/bin/cat bin.cat
mkdir -p new/deep/folder
mkdir "with blank"
mv new/deep opt
ln usr/bin/bash usr/bin/bash-2
ln -s ../nowhere new/link
chmod 4755 usr/bin/bash
chmod u-w,g+ws,o= usr/bin/env
chmod -R go-rwx var
chmod a+X,u=rw usr/bin/busybox
chown 7:8 usr/bin/bash-2
chown -R :9 etc
set-xattr user.note 'some text' usr/bin/env
set-xattr user.bytes 0x00ff00 usr
put BODY etc/motd
put TREE srv
put TREE usr/local
`

mountTest('edit does to an archive what commands do to a folder', {}, async (t, lab) => {
  const { archive } = await copy(lab)
  const body = lab.path('body')
  const tree = lab.path('tree')
  await lab.ok('sh', [
    '-c',
    `printf 'hello\n' > '${body}'; mkdir -p '${tree}/in'; head -c 700000 /dev/urandom > '${tree}/in/file'; ln '${tree}/in/file' '${tree}/again'`,
  ])
  const script = COMMANDS.replace('BODY', body).replaceAll('TREE', tree)
  const folder = lab.path('folder')
  await lab.flistfs(['unpack', archive, folder])
  const done = await lab.run('sh', ['-c', `printf '%s' "$SCRIPT" | sh '${FLISTFS}' edit '${archive}' -`], {
    env: { SCRIPT: script },
  })
  t.equal(done.code, 0, done.stderr)
  const shell = `set -e; put() { cp -a "$1" "$2"; }\nset_xattr() { setfattr -n "$1" -v "$2" "$3"; }\n${script.replaceAll('set-xattr', 'set_xattr')}`
  // cp(1) copies a folder into one that is there, as put does.
  await lab.ok('sh', ['-c', shell], { cwd: folder })
  await lab.ok('chown', ['-R', '--reference', body, `${folder}/etc/motd`])
  await lab.ok('sh', ['-c', `chgrp 9 '${folder}/etc/motd'; chgrp 0 '${folder}/etc/motd'`])
  t.equal(await differences(lab, archive, folder), '')
  const { directory } = await lab.mount(archive)
  t.equal(readableOf(await lab.run('cat', [`${directory}/etc/motd`])), 'hello\n', 'and its blocks are where it says')
  await lab.ok('cmp', [`${directory}/srv/in/file`, `${tree}/in/file`])
})

function readableOf(done: Done): string {
  return done.stdout.toString() + done.stderr
}

mountTest('a script is done whole or not at all', {}, async (t, lab) => {
  const { archive } = await copy(lab)
  const before = readFileSync(archive)
  for (const [last, why] of [
    ['rm usr/bin', 'a folder with something in it'],
    ['rm nothing', 'it is not there'],
    ['mv usr usr/bin/x', 'is in it'],
    ['mkdir etc', 'it is there'],
    ['mkdir a/b/c', 'a folder on the way is missing'],
    ['chmod 99 etc', 'as a mode'],
    ['rm ../etc', '..'],
    ['rm bin/cat', 'is no folder'],
    ['mv etc usr/bin/cat', 'cannot replace each other'],
    ['ln usr x', 'it is a folder'],
    ['frobnicate etc', 'is no command'],
    ['rm', 'takes [-r] PATH'],
    ['rm -x etc/os-release', 'takes [-r] PATH'],
    ['rm /', 'it is the root'],
    ["rm 'etc", 'a quote is not closed'],
    ['set-xattr note text etc', 'in none of the namespaces'],
    [`set-xattr user.${'x'.repeat(251)} text etc`, 'more than 255 bytes'],
    [`put ${lab.path('nothing')} etc`, 'it is not there'],
  ] as const) {
    const script = `rm -r usr/lib\n# a comment\n${last}\n`
    const done = await lab.run('sh', ['-c', `printf '%s' "$SCRIPT" | sh '${FLISTFS}' edit '${archive}' - --json`], {
      env: { SCRIPT: script },
    })
    t.match([done.code, done.stderr], [/^(?:2|10)$/, new RegExp(why.replaceAll(/[.[\]]/g, '\\$&'))], last)
    t.ok(readFileSync(archive).equals(before), 'nothing has changed')
  }
})

mountTest('an interrupt is heard while nobody says what to do', {}, async (t, lab) => {
  const { archive } = await copy(lab)
  const before = readFileSync(archive)
  const env = { ...process.env, FLISTFS_CACHE: lab.cache }
  const child = spawn('sh', [FLISTFS, 'edit', archive, '-'], { env, stdio: ['pipe', 'ignore', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  // More than the pipe holds: it is read when all of it is gone.
  await new Promise((resolve) => child.stdin.write('# nothing yet\n'.repeat(300_000), resolve))
  child.kill('SIGINT')
  t.strictSame(await ended, [130, null])
  t.ok(readFileSync(archive).equals(before))
})

mountTest('the same change makes the same bytes, and another file is left alone', {}, async (t, lab) => {
  const { archive } = await copy(lab)
  const env = { SOURCE_DATE_EPOCH: '1700000000' }
  for (const name of ['a', 'b']) {
    const done = await lab.flistfs(['edit', archive, '--output', lab.path(`${name}.fl`), 'chmod', '0', 'etc'], { env })
    t.equal(done.code, 0, done.stderr)
  }
  t.ok(readFileSync(lab.path('a.fl')).equals(readFileSync(lab.path('b.fl'))))
  t.ok(readFileSync(archive).equals(readFileSync(ARCHIVE)))
})

mountTest('merge joins trees as overlayfs does', {}, async (t, lab) => {
  const [lower, upper, view] = ['lower', 'upper', 'view'].map((name) => lab.folder(name)) as [string, string, string]
  await lab.flistfs(['unpack', ARCHIVE, lower])
  const work = lab.folder('work')
  await lab.ok('mount', [
    '-t',
    'overlay',
    'overlay',
    '-o',
    `lowerdir=${lower},upperdir=${upper},workdir=${work},index=off,metacopy=off,redirect_dir=off`,
    view,
  ])
  try {
    await lab.ok('sh', ['-c', CHANGES], { cwd: view })
    const store = `dir://${lab.folder('store')}`
    const packed = await lab.flistfs(['pack', upper, lab.path('upper.fl'), '--store', store])
    t.equal(packed.code, 0, packed.stderr)
    const merged = await lab.flistfs(['merge', ARCHIVE, lab.path('upper.fl'), '-o', lab.path('merged.fl')])
    t.equal(merged.code, 0, merged.stderr)
    t.equal(await differences(lab, lab.path('merged.fl'), view), '')
    const { directory } = await lab.mount(lab.path('merged.fl'))
    await lab.ok('diff', ['-r', '--no-dereference', view, directory])
    const routes = JSON.parse((await lab.flistfs(['route', lab.path('merged.fl'), '--json'])).stdout.toString()) as {
      url: string
    }[]
    t.strictSame(
      routes.map(({ url }) => url),
      [store, `dir://${sample}/store`],
      'the top one is asked first',
    )
  } finally {
    await lab.ok('umount', [view])
  }
})

const CHANGES = String.raw`
set -e
rm -r usr/share/doc; rm usr/bin/cat; printf new > usr/bin/new
rm -r var/cache; mkdir var/cache; printf x > var/cache/only
mv etc/os-release etc/release; chmod 700 boot; ln usr/bin/env usr/bin/env-2
rm -r home; ln -s tmp home; printf more >> usr/bin/bash
`

mountTest('edit and merge sign what they write, and keep no signature of what was', {}, async (t, lab) => {
  const { archive } = await copy(lab)
  const key = lab.path('key')
  t.equal((await lab.flistfs(['keygen', key])).code, 0)
  const isSigned = async (file: string): Promise<number> =>
    (await lab.flistfs(['verify', file, '--signature', '--key', `${key}.pub`])).code
  t.equal((await lab.flistfs(['edit', archive, '--sign', key, 'chmod', '700', 'etc'])).code, 0)
  t.equal(await isSigned(archive), 0)
  t.equal((await lab.flistfs(['edit', archive, 'chmod', '755', 'etc'])).code, 0)
  t.equal(await isSigned(archive), 12)
  const merged = lab.path('merged.fl')
  t.equal((await lab.flistfs(['merge', ARCHIVE, archive, '-o', merged, '--sign', key])).code, 0)
  t.equal(await isSigned(merged), 0)
})

mountTest('tags and routes are shown and changed', {}, async (t, lab) => {
  const { archive } = await copy(lab)
  t.equal((await lab.flistfs(['tag', archive, 'stage=test', 'empty=', '--remove', 'description'])).code, 0)
  t.strictSame(JSON.parse((await lab.flistfs(['tag', archive, '--json'])).stdout.toString()), {
    stage: 'test',
    empty: '',
  })
  t.equal((await lab.flistfs(['tag', archive, '--remove', 'nothing'])).code, 2)
  const secret = 'zdb://:hunter2@127.0.0.1:9900/ns'
  t.equal((await lab.flistfs(['route', archive, '--add', `00-7f=${secret}`])).code, 0)
  t.notOk(readFileSync(archive).includes('hunter2'), 'no password goes into an archive')
  const shown = (await lab.flistfs(['route', archive])).stdout.toString()
  t.equal(shown, '00-ff=dir:store\n00-7f=zdb://127.0.0.1:9900/ns\n')
  t.equal((await lab.flistfs(['route', archive, '--remove', 'zdb://127.0.0.1:9900/ns'])).code, 0)
  t.equal((await lab.flistfs(['route', archive, '--set', `dir://${lab.path('store')}`])).code, 0)
  t.equal(await differences(lab, ARCHIVE, archive), '', 'the tree is what it was')
  const { directory } = await lab.mount(archive)
  await lab.ok('cat', [`${directory}/usr/bin/bash`])
})
