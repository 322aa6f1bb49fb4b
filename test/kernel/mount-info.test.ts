import t from 'tap'
import { parseMounts, topMount, unescapeOctal } from '../../lib/kernel/mount-info.ts'

t.test('parseMounts() reads the lines of the kernel', async (t) => {
  const [first, second, ...rest] = parseMounts(
    [
      '36 35 0:98 / /mnt/a\\040b\\134c rw,nosuid shared:1 master:2 - fuse.flistfs /srv/my\\040archive.fl ro,user_id=0',
      '37 35 98:0 /sub /mnt2 rw - ext4 /dev/root rw',
      'not a line',
      '38 35 0:1 / /x rw -',
      '',
    ].join('\n'),
  )
  t.match(first, {
    id: 36,
    major: 0,
    minor: 98,
    directory: '/mnt/a b\\c',
    type: 'fuse.flistfs',
    source: '/srv/my archive.fl',
  })
  t.match(second, { root: '/sub', directory: '/mnt2', type: 'ext4', superOptions: 'rw' })
  t.equal(rest.length, 0)
})

t.test('unescapeOctal() leaves other backslashes alone', async (t) => {
  t.equal(unescapeOctal('a\\040b\\n\\9'), 'a b\\n\\9')
})

t.test('topMount() gives the last one made', async (t) => {
  const mounts = parseMounts('1 0 0:1 / /a rw - tmpfs one rw\n2 1 0:2 / /a rw - tmpfs two rw')
  t.equal(topMount(mounts, '/a')?.source, 'two')
  t.equal(topMount(mounts, '/b'), undefined)
})
