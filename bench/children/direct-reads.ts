import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'

/** direct-reads.ts FILE SECONDS: reads pieces of a file at random past the kernel's cache; how many, errors, and the longest one as JSON. */
const [file, secondsText] = process.argv.slice(2)
if (file === undefined || secondsText === undefined) throw new RangeError('direct-reads.ts FILE SECONDS')
const PIECE_BYTES = 64 * 1024
const fd = openSync(file, constants.O_RDONLY | constants.O_DIRECT)
const pieces = Math.floor(fstatSync(fd).size / PIECE_BYTES)
const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES)
const endAt = performance.now() + Number(secondsText) * 1000
let [reads, errors, longestMs] = [0, 0, 0]
for (let begun = performance.now(); begun < endAt;) {
  try {
    readSync(fd, buffer, 0, PIECE_BYTES, Math.floor(Math.random() * pieces) * PIECE_BYTES)
    reads += 1
  } catch {
    errors += 1
  }
  const now = performance.now()
  longestMs = Math.max(longestMs, now - begun)
  begun = now
}
closeSync(fd)
console.log(JSON.stringify({ reads, errors, longestMs }))
