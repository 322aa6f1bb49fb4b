import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readSecrets } from '../../lib/store/store-secret.ts'
import { parseStoreUrl } from '../../lib/store/store-url.ts'

const NAME = 'FLISTFS_TEST_SECRET'
t.afterEach(() => {
  delete process.env[NAME]
})

void t.test('secrets come from a file, from the environment, or from the URL, in this order', async (t) => {
  const file = join(t.testdir({ pass: 'of the file\n' }), 'pass')
  process.env[NAME] = 'of the environment\n'
  const read = (url: string): ReturnType<typeof readSecrets> => readSecrets(parseStoreUrl(url, '/'), true)
  t.match(await read('zdb://:inline@host/ns'), { password: 'inline' })
  t.match(await read(`zdb://host/ns?password-env=${NAME}`), { password: 'of the environment' })
  t.match(await read(`zdb://host/ns?password-file=${file}`), { password: 'of the file' })
  t.match(await read(`https://host/?token-file=${file}`), { token: 'of the file' })
  t.match(await read(`https://host/?token-env=${NAME}`), { token: 'of the environment' })
  writeFileSync(file, 'two\nlines\r\n')
  t.match(await read(`https://host/?token-file=${file}`), { token: 'two\nlines' }, 'only the last newline goes')
})

void t.test('what cannot be read is refused, and says what to do', async (t) => {
  const gone = join(t.testdir(), 'gone')
  const file = readSecrets(parseStoreUrl(`https://host/?token-file=${gone}`, '/'), true)
  await t.rejects(file, { code: 'FLIST_STORE_DENIED', message: /ENOENT/, hint: /chmod/ })
  const variable = readSecrets(parseStoreUrl(`https://host/?token-env=${NAME}`, '/'), true)
  await t.rejects(variable, { code: 'FLIST_STORE_DENIED', message: new RegExp(NAME), hint: /export/ })
})

void t.test('an archive cannot have a file of ours sent anywhere', async (t) => {
  const file = join(t.testdir({ pass: 'secret' }), 'pass')
  process.env[NAME] = 'secret'
  for (const words of [`token-file=${file}`, `token-env=${NAME}`, `password-file=${file}`]) {
    const error: unknown = await readSecrets(parseStoreUrl(`https://host/?${words}`, '/'), false).catch(
      (e: unknown) => e,
    )
    t.match(error, { code: 'FLIST_STORE_DENIED', message: /a route of an archive/ }, words)
  }
  t.match(await readSecrets(parseStoreUrl('zdb://:inline@host/ns', '/'), false), { password: 'inline' })
})
