import t from 'tap'
import { FrameDriver } from '../kernel/frame-driver.ts'
import { FrameView } from '../kernel/frame-view.ts'
import { filesystemSuite } from './filesystem-suite.ts'
import { everything } from './sample-archive.ts'

const sample = await everything('/bin/true').write(t.testdir())
const driver = await FrameDriver.open(sample)
t.teardown(() => driver.close())

t.test('by frames, folders by READDIRPLUS', async (t) => {
  filesystemSuite(t, sample.entries, async () => new FrameView(driver))
})

t.test('by frames, folders by READDIR in pages of one long name', async (t) => {
  filesystemSuite(t, sample.entries, async () => new FrameView(driver, false, 24 + 256))
})
