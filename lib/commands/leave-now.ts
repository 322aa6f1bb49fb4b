import { exitNow } from '../system/index.ts'

/** What process.exit() waits for: names that are looked up, calls of a disk. */
const HELD = /^(?:GetAddrInfo|FS)Req/

/** Ends the process like process.exit(), and at once, where a call that nobody waits for any more would hold it. */
export function leaveNow(code: number): never {
  if (process.getActiveResourcesInfo().some((name) => HELD.test(name))) exitNow(code)
  process.exit(code)
}
