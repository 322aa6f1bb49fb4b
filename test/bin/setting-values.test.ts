import { Command, Option } from 'commander'
import t from 'tap'
import { Output } from '../../bin/output.ts'
import { buildProgram } from '../../bin/program.ts'
import { checkValues } from '../../bin/setting-values.ts'
import { isHidden, isSettable, takesSettings } from '../../bin/settings.ts'
import { FlistError } from '../../lib/base/index.ts'

const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
const verbs = program.commands.filter((verb) => takesSettings(verb) && !isHidden(program, verb)).flatMap(withBelow)
const options = verbs.flatMap((verb) => verb.options).filter((option) => isSettable(option) && option.required)

function withBelow(verb: Command): Command[] {
  return [verb, ...verb.commands.flatMap(withBelow)]
}

async function said(option: Option, value: string): Promise<string | undefined> {
  try {
    await checkValues(option, [value], (why) => new FlistError('FLIST_USAGE', why))
    return undefined
  } catch (error) {
    if (!(error instanceof FlistError)) throw error
    return error.message
  }
}

/** Files, folders, names of this machine or of an archive, and words for people: whether they serve is seen where they are used. */
const FREE = new Set(
  (
    'cache log trace policy upper base exclude owner group sign key from output tar comment add remove set ' +
    'plain-http'
  ).split(' '),
)

t.test('checkValues() refuses what is wrong in each key that says more than a name', async (t) => {
  for (const option of options) {
    const name = (option.long ?? '').slice(2)
    if (FREE.has(name)) continue
    const why = await said(option, 'a/b/c/§ wrong')
    t.type(why, 'string', `${name} is checked: ${why}`)
  }
})

t.test('checkValues() says of values what is wrong, and no password', async (t) => {
  const cases: [string, string, RegExp | undefined][] = [
    ['--metrics', 'localhost', /^"localhost" is no address for metrics$/],
    ['--metrics', 'localhost:9100', undefined],
    ['--digest', 'md5:0', /^"md5:0" is not a digest$/],
    ['--digest', `sha256:${'a'.repeat(64)}`, undefined],
    ['--hub', 'ftp://u:secret@hub', /^cannot use the address "ftp:\.\.\." as a URL$/],
    ['--hub', 'https://hub.grid.tf', undefined],
    ['--store', '00-7=http://a', /range is not two hexadecimal bytes$/],
    ['--store', '00-7f=gopher://u:secret@a', /^cannot use store "gopher:.*": scheme "gopher" is unknown$/],
    ['--store', '00-7f=http://a', undefined],
    ['--store', 'dir:blocks', undefined],
    ['--timeout', 'soon', /^"soon" is not a time to wait$/],
    ['--older', '3 moons', /^"3 moons" is not an age$/],
    ['--older', '30d', undefined],
    ['--jobs', '65', /^"65": a number from 1 to 64 is wanted$/],
    ['--jobs', '4', undefined],
    ['--level', '0', /^"0" is not a number of levels$/],
    ['--mtime', 'yesterday?', /^"yesterday\?" is not a time$/],
    ['--mtime', './not/yet/there', undefined],
    ['--mirror', 'docker.io', /^"docker\.io" is not a mirror$/],
    ['--platform', 'a/b/c/d', /^"a\/b\/c\/d" is not a platform$/],
    ['--ignore', 'mtime,colour', /^cannot ignore "colour"$/],
    ['--cache', 'a\0b', /NUL/],
  ]
  for (const [long, value, wanted] of cases) {
    const option = options.find((one) => one.long === long)
    if (option === undefined) throw new Error(`no option ${long}`)
    const why = await said(option, value)
    if (wanted === undefined) t.equal(why, undefined, `${long} ${value}`)
    else t.match(why, wanted, `${long} ${JSON.stringify(value)}`)
    t.notMatch(why ?? '', 'secret')
  }
})
