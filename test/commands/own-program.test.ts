import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { OwnProgram } from '../../lib/commands/own-program.ts'

function replace(path: string): void {
  writeFileSync(`${path}.new`, 'new')
  renameSync(`${path}.new`, path)
}

t.test('hasSettled() is true at the second look at another file, whichever it is', async (t) => {
  const dir = t.testdir({ main: 'old', thread: 'old' })
  const [main, thread] = [join(dir, 'main'), join(dir, 'thread')]
  const program = new OwnProgram(main, thread)
  t.notOk(program.isReplaced)
  t.notOk(await program.hasSettled())
  replace(main)
  t.ok(program.isReplaced)
  t.notOk(await program.hasSettled(), 'it may not be all')
  replace(thread)
  t.notOk(await program.hasSettled(), 'nor this')
  t.ok(await program.hasSettled())
  const next = new OwnProgram(main, thread)
  t.notOk(next.isReplaced)
})

t.test('hasSettled() waits where a file is not there, or cannot be looked at', async (t) => {
  const path = join(t.testdir({ thread: 'old' }), 'thread')
  const program = new OwnProgram(path)
  for (const gone of [() => undefined, () => symlinkSync('thread', path)]) {
    rmSync(path, { force: true })
    gone()
    t.notOk(program.isReplaced)
    t.notOk(await program.hasSettled())
    t.notOk(await program.hasSettled())
  }
  t.notOk(new OwnProgram(path).isReplaced)
  rmSync(path)
  replace(path)
  await program.hasSettled()
  t.ok(await program.hasSettled())
})

t.test('hasSettled() begins no look beside one that does not end', async (t) => {
  const path = join(t.testdir({ thread: 'old' }), 'thread')
  const program = new OwnProgram(path)
  replace(path)
  const [first, beside] = [program.hasSettled(), program.hasSettled()]
  t.notOk(await beside)
  t.notOk(await first)
  t.ok(await program.hasSettled())
})
