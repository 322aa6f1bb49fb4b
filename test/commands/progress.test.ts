import t from 'tap'
import { archiveProgress } from '../../lib/commands/progress.ts'

t.test('archiveProgress() is silent in a pipe, and when nobody asks', async (t) => {
  const lines: string[] = []
  for (const progress of [
    archiveProgress((text) => void lines.push(text), 'it', false),
    archiveProgress(undefined, 'it', true),
  ]) {
    t.equal(progress.onProgress, undefined)
    progress.end()
  }
  t.strictSame(lines, [])
})

t.test('archiveProgress() shows one line now and then, and clears it', async (t) => {
  t.capture(performance, 'now', () => now)
  let now = 1000
  const lines: string[] = []
  const progress = archiveProgress((text) => void lines.push(text), 'it', true)
  progress.end()
  progress.onProgress?.(1, 100)
  t.strictSame(lines, [], 'what is quick needs no line')
  now += 600
  progress.onProgress?.(50, 100)
  progress.onProgress?.(51, 100)
  now += 300
  progress.onProgress?.(2048, undefined)
  progress.end()
  t.strictSame(lines, ['\r\u001b[KFetching it: 50 B of 100 B (50 %)', '\r\u001b[KFetching it: 2.0 KiB', '\r\u001b[K'])
})
