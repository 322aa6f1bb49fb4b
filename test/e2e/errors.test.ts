import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ERRNO, ERROR_TABLE } from '../../lib/base/index.ts'
import { ARCHIVE_CASES } from './errors/archives.ts'
import { type ErrorCase, SECRET } from './errors/error-case.ts'
import { PLACE_CASES } from './errors/places.ts'
import { STORE_CASES } from './errors/stores.ts'
import { WORD_CASES } from './errors/words.ts'
import { type Lab, mountTest, PROJECT } from './mounted.ts'

const CASES: readonly ErrorCase[] = [...WORD_CASES, ...ARCHIVE_CASES, ...STORE_CASES, ...PLACE_CASES]
const ROWS = rowsOf(readFileSync(join(PROJECT, 'docs/errors.md'), 'utf8'))

/** Exit code and errno of each code, as the page says. */
function rowsOf(page: string): Map<string, { exit: number; errno: string }> {
  const rows = page.matchAll(/^### (FLIST_\w+)\n\nExit (\d+), (E[A-Z]+)\./gm)
  return new Map([...rows].map(([, code = '', exit, errno = '']) => [code, { exit: Number(exit), errno }]))
}

void t.test('each row of docs/errors.md is true, and provoked below', (t) => {
  t.strictSame([...ROWS.keys()].toSorted(), Object.keys(ERROR_TABLE).toSorted(), 'a row for each code')
  for (const [code, { exit, errno }] of ROWS) {
    const entry = ERROR_TABLE[code as keyof typeof ERROR_TABLE]
    t.equal(exit, entry.exit, `${code}: exit code`)
    t.equal(ERRNO[errno as keyof typeof ERRNO], entry.errno, `${code}: errno`)
    const provoked = CASES.some((one) => one.code === code)
    t.ok(provoked, `${code}: add a case to test/e2e/errors that provokes it as an operator would`)
  }
  t.end()
})

for (const code of ROWS.keys()) {
  const cases = CASES.filter((one) => one.code === code)
  if (cases.length === 0) continue
  mountTest(code, {}, async (t, lab) => {
    for (const one of cases) await t.test(one.when, { skip: one.skip ?? false }, (t) => provoke(t, lab, one))
  })
}

async function provoke(t: Test, lab: Lab, { code, provoke, says, hint }: ErrorCase): Promise<void> {
  const done = await provoke({ lab, t })
  const lines = done.stderr.split('\n').filter((line) => line.startsWith('{"error"'))
  t.equal(lines.length, 1, done.stderr)
  const { error } = JSON.parse(lines[0] ?? '{"error": {}}') as { error: Record<string, string | number> }
  const { exit } = ROWS.get(code) ?? {}
  t.match(error, { code, exit }, 'code and exit code are those of the page')
  t.equal(done.code, exit)
  const message = String(error['message'])
  t.match(message, /^Cannot .*[^.]$/, 'a sentence that says what failed')
  t.match(message, says)
  // What Node or the kernel said is part of a sentence, not the sentence.
  t.notMatch(message, /syscall|errno -?\d|^Cannot go on|undefined|\[object/)
  if (hint !== undefined) t.match(String(error['hint']), hint)
  t.notMatch(done.stderr + done.stdout.toString(), SECRET, 'no secret')
}
