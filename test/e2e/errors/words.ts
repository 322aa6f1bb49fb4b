import { writeFileSync } from 'node:fs'
import { FLISTFS } from '../mounted.ts'
import { SAMPLE } from './archives.ts'
import { type ErrorCase, flistfs, fresh, SECRET } from './error-case.ts'

/** Words, what the message says, what the hint says. */
const WRONG: readonly (readonly [readonly string[], RegExp, RegExp])[] = [
  [[], /a verb is missing/, /--help/],
  [['explode'], /"explode"/, /--help/],
  [['mount'], /missing required argument 'archive'/, /--help/],
  [['mount', 'a', '.', '--timout', '3'], /'--timout'/, /--timeout/],
  [['mount', 'a', '.', '--timeout', 'soon'], /"soon"/, /seconds, or a number/],
  [['mount', 'a', '.', '--cache-size', 'big'], /"big"/, /10G/],
  [['mount', 'a', '.', '--digest', 'md5:00'], /"md5:00"/, /sha256:/],
  [['mount', 'a', '.', '--verify', 'never'], /never/, /--help/],
  [['mount', SAMPLE, '.', '--store', `ftp://me:${SECRET}@host/x`], /"ftp:.*scheme "ftp" is unknown/, /dir:\/\/\//],
  [['mount', SAMPLE, '.', '--store', `s3://KEY:a/${SECRET}@host/b`], /"s3:\/\/\*\*\*@host\/b".*not encoded/, /%2F/],
  [['mount', SAMPLE, '.', '--store', '0-zz=http://host'], /"0-zz/, /xx-xx=URL|00-7f/],
  [['mount', 'me/app.flist', '.', '--hub', `nonsense-${SECRET}`], /as a URL/, /http:\/\/host/],
  [['mount', 'a', '.', '-o', 'timeout="3'], /double quote/, /Close the value/],
  [['cat', SAMPLE, 'usr'], /"usr": it is a directory/, /flistfs ls/],
  [['cat', SAMPLE, 'usr/absent'], /"usr\/absent"/, /flistfs ls/],
  [['find', SAMPLE, '-bogus'], /"-bogus"/, /find --help/],
  [['mount', SAMPLE, '.', '--cache', ''], /"--cache": it is empty/, /value/],
  [['mount', SAMPLE, '.', '-o', 'cache='], /"--cache": it is empty/, /value/],
  [['mount', SAMPLE, ''], /"<directory>": it is empty/, /folder where you are/],
  [['unpack', SAMPLE, ''], /"<directory>": it is empty/, /value/],
  [['unpack', SAMPLE, '--tar='], /"--tar": it is empty/, /value/],
  [['cache', 'list', '--cache='], /"--cache": it is empty/, /value/],
  [['pack', '', 'a.fl', '-s', 'dir:s'], /"<source>": it is empty/, /value/],
  [['upgrade'], /name a folder, or --all/, /flistfs list/],
  [['trace', '.'], /name a file, or say --off/, /trace --help/],
  [['stats', '--watch', '1ms'], /"1ms"|0\.001|shortest/, /100ms/],
  [['cache', 'prune', '--to', 'x'], /"x"/, /10G/],
  [['cache', 'prune', '--older', 'x'], /"x"/, /ms, s, m, h, d or w/],
  [['mount', SAMPLE, '.', '--timeout', 'x'], /"x"/, /ms, s, m or h:/],
  [['tag', SAMPLE, '--remove', 'absent'], /the tag "absent"/, /flistfs tag/],
  [['edit', SAMPLE, 'rm', 'absent'], /remove "absent"/, /flistfs ls/],
]

export const WORD_CASES: readonly ErrorCase[] = [
  ...WRONG.map(([words, says, hint]) => ({
    code: 'FLIST_USAGE',
    when: `flistfs ${words.join(' ').replaceAll(SECRET, 'PASSWORD').replaceAll(SAMPLE, 'debian.fl')}`,
    provoke: (place: Parameters<ErrorCase['provoke']>[0]) => flistfs(place, words),
    says,
    hint,
  })),
  {
    code: 'FLIST_USAGE',
    when: 'a word is not UTF-8',
    provoke: (place) => place.lab.run('sh', ['-c', `exec sh "$0" stat "$(printf 'caf\\351')" etc --json`, FLISTFS]),
    says: /"caf\\xe9": the word is not UTF-8/,
    hint: /Rename/,
  },
  {
    code: 'FLIST_USAGE',
    when: 'a variable has a wrong value',
    provoke: (place) => flistfs(place, ['mount', SAMPLE, '.'], { FLISTFS_TIMEOUT: 'soon' }),
    says: /"FLISTFS_TIMEOUT".*"soon"/,
    hint: /seconds|variable/,
  },
  {
    code: 'FLIST_USAGE',
    when: 'a switch has a wrong value',
    provoke: (place) => flistfs(place, ['mount', SAMPLE, '.'], { FLISTFS_SUID: 'perhaps' }),
    says: /"FLISTFS_SUID".*"perhaps"/,
    hint: /1 or 0/,
  },
  {
    code: 'FLIST_USAGE',
    when: 'a settings file has an unknown key',
    provoke: (place) => {
      const file = fresh(place, 'config.toml')
      writeFileSync(file, '[mount]\ntimout = "2m"\n')
      return flistfs(place, ['mount', SAMPLE, '.'], { FLISTFS_CONFIG: file })
    },
    says: /config\.toml.*2.*"timout"/,
    hint: /Keys are long options/,
  },
  {
    code: 'FLIST_USAGE',
    when: 'the settings file is not there',
    provoke: (place) => flistfs(place, ['mount', SAMPLE, '.'], { FLISTFS_CONFIG: '/srv/absent.toml' }),
    says: /"\/srv\/absent\.toml"/,
    hint: /FLISTFS_CONFIG/,
  },
]
