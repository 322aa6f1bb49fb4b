import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { manPages } from '../../bin/man-pages.ts'
import { Output } from '../../bin/output.ts'
import { buildProgram } from '../../bin/program.ts'

const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
const pages = manPages(program, '1.2.3')

const lacks = (command: string): string | false => {
  const found = spawnSync('sh', ['-c', `command -v ${command}`], { timeout: 120_000 }).status === 0
  return !found && `needs ${command}`
}

t.test('there is a page of the program and one of each verb', async (t) => {
  const verbs = program
    .createHelp()
    .visibleCommands(program)
    .map((verb) => verb.name())
  t.strictSame([...pages.keys()].sort(), ['flistfs.1', ...verbs.map((verb) => `flistfs-${verb}.1`)].sort())
  t.notOk(pages.has('flistfs-resume.1'), 'hidden verbs have none')
  const mount = pages.get('flistfs-mount.1') ?? ''
  t.match(mount, String.raw`.B \-s, \-\-store <[xx\-xx=]url>`)
  t.match(mount, String.raw`once, always (default once).`)
  t.match(pages.get('flistfs-umount.1') ?? '', 'Also called flistfs unmount.')
})

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
