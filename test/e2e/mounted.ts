import t, { type Test } from 'tap'
import { Lab, NO_MOUNT } from './lab.ts'

export { abortConnection, FLISTFS, Lab, lacks, NO_MOUNT, PROGRAMS, PROJECT, until } from './lab.ts'
export type { Done, Mounted, MountOptions, RunOptions, Stats } from './lab.ts'

// Each test has a deadline of its own; tap's for a whole file would end it without cleaning.
t.setTimeout(3_600_000)

/** Milliseconds: one test, and how long before tap's own deadline it is given up, so that the cleaning still runs. */
const TEST_MS = 600_000
const CLEAN_MS = 180_000

/**
 * A test with real mounts: skipped aloud where nothing can be mounted, ended by a deadline, and failed when a process, a mount or
 * a file in the temporary folder is left. What is left is cleaned up all the same.
 */
export function mountTest(
  name: string,
  options: { readonly skip?: string | false },
  run: (t: Test, lab: Lab) => Promise<void>,
): void {
  const skip = NO_MOUNT || options.skip || false
  void t.test(name, { skip, timeout: TEST_MS }, async (child) => {
    const lab = new Lab()
    let timer: NodeJS.Timeout | undefined
    const tooLate = new Promise<never>((_resolve, reject) => {
      const patienceMs = TEST_MS - CLEAN_MS
      timer = setTimeout(() => reject(new Error(`not done after ${patienceMs} ms`)), patienceMs)
    })
    try {
      await Promise.race([run(child, lab), tooLate])
    } catch (error) {
      child.fail(error instanceof Error ? (error.stack ?? error.message) : String(error))
      child.comment(lab.logs())
    } finally {
      clearTimeout(timer)
      child.strictSame(await lab.close(), [], 'no process, mount or temporary file is left')
    }
  })
}
