import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { manPages } from '../../bin/man-pages.ts'
import { Output } from '../../bin/output.ts'
import { buildProgram } from '../../bin/program.ts'
import { isSettable, variableOf } from '../../bin/settings.ts'

const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
const pages = manPages(program, '1.2.3')

const lacks = (command: string): string | false => {
  const found = spawnSync('sh', ['-c', `command -v ${command}`], { timeout: 120_000 }).status === 0
  return !found && `needs ${command}`
}

t.test('there is a page of the program, one of each verb, and those of the system', async (t) => {
  const verbs = program
    .createHelp()
    .visibleCommands(program)
    .map((verb) => verb.name())
  const ofSystem = ['flistfs.1', 'flistfs.toml.5', 'mount.flistfs.8']
  t.strictSame([...pages.keys()].sort(), [...ofSystem, ...verbs.map((verb) => `flistfs-${verb}.1`)].sort())
  t.notOk(pages.has('flistfs-resume.1'), 'hidden verbs have none')
  const mount = pages.get('flistfs-mount.1') ?? ''
  t.match(mount, String.raw`.B \-s, \-\-store <[xx\-xx=]url>`)
  t.match(mount, String.raw`once, always (default once).`)
  t.match(pages.get('flistfs-stat.1') ?? '', '.I ARCHIVE PATH ...')
  t.match(pages.get('flistfs-umount.1') ?? '', 'Also called flistfs unmount.')
})

t.test(
  'the page of mount(8) has every option that may stand in fstab, that of settings every key and variable',
  async (t) => {
    const [helper, settings] = [pages.get('mount.flistfs.8') ?? '', pages.get('flistfs.toml.5') ?? '']
    const mount = program.commands.find((verb) => verb.name() === 'mount')
    for (const option of mount?.options.filter(isSettable) ?? []) {
      const name = option.long?.slice(2) ?? ''
      const said = { rw: 'writable', suid: 'setuid', dev: 'devices' }[name] ?? name
      t.match(helper, new RegExp(`^\\.BI? ${said.replaceAll('-', String.raw`\\-`)}(?:=| |$)`, 'm'), said)
      t.match(settings, new RegExp(`^\\.BI? ${name.replaceAll('-', String.raw`\\-`)}(?: |$)`, 'm'), name)
      t.ok(settings.includes(`.B ${variableOf(option)}\n`), variableOf(option))
    }
    t.notMatch(helper, /foreground/, 'what mount(8) cannot say is not there')
  },
)

t.test('mandoc finds nothing wrong', { skip: lacks('mandoc') }, async (t) => {
  const dir = t.testdir()
  for (const [name, text] of pages) {
    writeFileSync(join(dir, name), text)
    // A page that is made at build has no date of its own.
    const lint = spawnSync('mandoc', ['-T', 'lint', '-W', 'warning', join(dir, name)], {
      encoding: 'utf8',
      timeout: 120_000,
    })
    const wrong = lint.stdout
      .split('\n')
      .filter((line) => line !== '' && !/missing date|lower case character/.test(line))
    t.strictSame(wrong, [], name)
  }
})

t.test('groff sets every page, and its words are there', { skip: lacks('groff') }, async (t) => {
  for (const [name, text] of pages) {
    const set = spawnSync('groff', ['-man', '-Tascii', '-ww', '-P-cbou'], {
      input: text,
      encoding: 'utf8',
      timeout: 120_000,
    })
    t.strictSame({ status: set.status, said: set.stderr }, { status: 0, said: '' }, name)
    t.match(set.stdout, /NAME\n[^]*SYNOPSIS\n/, name)
  }
  const set = spawnSync('groff', ['-man', '-Tascii', '-P-cbou'], {
    input: pages.get('flistfs-mount.1') ?? '',
    encoding: 'utf8',
    timeout: 120_000,
  })
  for (const option of program.commands.find((verb) => verb.name() === 'mount')?.options ?? []) {
    if (!option.hidden) t.ok(set.stdout.includes(option.long ?? ''), option.long ?? '')
  }
})
