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

// No `await` out here: what is published is CommonJS.
void run(process.argv.slice(2), stopping.signal).then((code) => process.exit(code))
