import { readFileSync } from 'node:fs'
import t from 'tap'
import { optionWords } from '../../bin/option-list.ts'
import { Output } from '../../bin/output.ts'
import { buildProgram } from '../../bin/program.ts'

t.test('optionWords() says the options of mount as its words', async (t) => {
  t.strictSame(optionWords('store=dir:///a,store=80-ff=http://b,passthrough'), [
    '--store=dir:///a',
    '--store=80-ff=http://b',
    '--passthrough',
  ])
  t.strictSame(optionWords('upperdir=/u,allow_other,writable,setuid,devices'), [
    '--upper=/u',
    '--allow-other',
    '--rw',
    '--suid',
    '--dev',
  ])
  t.strictSame(optionWords(''), [])
  t.strictSame(optionWords(',,timeout=1m,'), ['--timeout=1m'])
})

t.test('optionWords() keeps commas that are escaped or quoted', async (t) => {
  t.strictSame(optionWords(String.raw`cache=/a\,b\\c,timeout=1`), [String.raw`--cache=/a,b\c`, '--timeout=1'])
  t.strictSame(optionWords('cache="/a,b",noexec'), ['--cache=/a,b', '--noexec'])
  t.strictSame(optionWords(String.raw`cache=/a\"b`), ['--cache=/a"b'])
  t.strictSame(optionWords(String.raw`cache=/a\b`), [String.raw`--cache=/a\b`], 'other backslashes are plain')
  t.throws(() => optionWords('cache="/a,b'), { code: 'FLIST_USAGE', message: /double quote is not closed/ })
})

t.test('optionWords() leaves out what mount(8) says to all, and what is for others', async (t) => {
  t.strictSame(optionWords('rw,user,nofail,_netdev,noauto,relatime,x-systemd.automount,X-mount.mkdir,comment=hi'), [])
  t.strictSame(optionWords('setuid,devices,nosuid'), ['--dev'], 'nosuid takes back')
  t.strictSame(optionWords('nodev,devices'), ['--dev'], 'the last word counts')
  t.strictSame(optionWords('noexec,writable,exec,ro'), [])
  t.strictSame(optionWords('exec,noexec,ro,writable'), ['--noexec', '--rw'])
  t.strictSame(optionWords('symfollow,nosymfollow'), ['--nosymfollow'])
  t.strictSame(optionWords('nosymfollow,writable,symfollow,ro=recursive'), [], 'as newer mount(8) says it')
  t.strictSame(optionWords('rw=vfs,user=somebody,mand,dirsync,iversion,lazytime,silent,owner,group'), [])
  const labels = 'context="system_u:object_r:x:s0:c1,c2",fscontext=a,defcontext=b,rootcontext=c,timeout=1'
  if (/\tselinuxfs$/m.test(readFileSync('/proc/filesystems', 'utf8'))) {
    t.throws(() => optionWords(labels), { code: 'FLIST_USAGE', message: /"context" after -o: no labels/ })
  } else t.strictSame(optionWords(labels), ['--timeout=1'])
})

t.test('optionWords() refuses what would never end', async (t) => {
  for (const name of ['foreground', 'help', 'json', 'bind', 'options=a'])
    t.throws(() => optionWords(name), { code: 'FLIST_USAGE' }, name)
  t.throws(() => optionWords('rw,remount,noexec'), { code: 'FLIST_USAGE', message: /"remount"/, hint: /^Unmount it/ })
})

t.test('every long option of mount can be said after -o', async (t) => {
  const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
  const mount = program.commands.find((command) => command.name() === 'mount')
  for (const option of mount?.options ?? []) {
    const name = (option.long ?? '').slice(2)
    if (['foreground', 'json', 'options', 'help'].includes(name)) continue
    // mount(8) keeps these two to itself, and says the third for every mount.
    const said = { suid: 'setuid', dev: 'devices', rw: 'writable' }[name] ?? name
    const words = optionWords(option.required ? `${said}=1` : said)
    t.strictSame(words, [option.required ? `--${name}=1` : `--${name}`])
  }
})
