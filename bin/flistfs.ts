import { FlistError } from '../lib/base/index.ts'
import { run } from './program.ts'

const stopping = new AbortController()
let asked = 0
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    asked += 1
    stopping.abort(new FlistError('FLIST_INTERRUPTED', 'Cannot finish: interrupted'))
    // Whoever asks a third time means it; a thread that waits in the kernel would hold back process.exit().
    if (asked > 2) process.kill(process.pid, 'SIGKILL')
  })
}

// No `await` out here: what is published is CommonJS. Loaded only where it is wanted: a start counts in milliseconds.
void run(process.argv.slice(2), stopping.signal).then(async (code) => {
  if (process.getActiveResourcesInfo().length > 0) (await import('../lib/commands/leave-now.ts')).leaveNow(code)
  process.exit(code)
})
