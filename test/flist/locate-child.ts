import { locateIndex } from '../../lib/flist/index.ts'

// A process of its own for `archive-cache.test.ts`: waits for a word, then locates and prints what it read.
const [archive = '', cacheDir = ''] = process.argv.slice(2)
process.stdout.write('ready\n')
process.stdin.once('data', () => {
  let calls = 0
  const onProgress = (): void => void (calls += 1)
  void locateIndex(archive, { cacheDir, onProgress }, AbortSignal.timeout(120_000)).then(({ digest }) => {
    process.stdout.write(`${digest} ${calls > 0 ? 'compiled' : 'found'}\n`)
    process.stdin.destroy()
  })
})
