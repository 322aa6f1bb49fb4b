import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { convertIn, differences } from './convert-it.ts'
import { writeLayout } from './make-image.ts'
import { IMAGES } from './sample-images.ts'

const canCompare = process.getuid?.() === 0 && spawnSync('umoci', ['--version']).status === 0
const skip = canCompare ? false : 'umoci is not installed, or this is not root'

t.test('convert() makes of an image what umoci unpacks', { skip }, async (t) => {
  const dir = t.testdir()
  const layout = join(dir, 'layout')
  writeLayout(layout, IMAGES)
  mkdirSync(join(dir, 'unpacked'))
  for (const tag of Object.keys(IMAGES)) {
    const bundle = join(dir, 'unpacked', tag)
    execFileSync('umoci', ['unpack', '--image', `${layout}:${tag}`, bundle], {
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: 600_000,
    })
    const { path } = await convertIn(dir, `oci:${layout}:${tag}`, tag)
    t.strictSame(await differences(dir, path, join(bundle, 'rootfs')), [], tag)
  }
})
