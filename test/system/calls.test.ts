import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import {
  errno,
  failed,
  ioctl,
  MNT,
  MS,
  mount,
  mountAsync,
  pread,
  read,
  umount,
  umountAsync,
  write,
} from '../../lib/system/index.ts'

t.test('read(), pread() and write() give bytes, or -1 and errno', async (t) => {
  const path = join(t.testdir(), 'file')
  writeFileSync(path, '0123456789')
  const fd = openSync(path, 'r+')
  const buffer = Buffer.alloc(20, '-')
  t.equal(read(fd, buffer, 4), 4)
  t.equal(buffer.toString('latin1', 0, 5), '0123-')
  t.equal(pread(fd, buffer, 20, 8), 2)
  t.equal(buffer.toString('latin1', 0, 5), '8923-')
  t.equal(pread(fd, buffer, 20, 2 ** 40), 0)
  t.equal(write(fd, Buffer.from('abc'), 2), 2)
  t.equal(pread(fd, buffer, 10, 0), 10)
  t.equal(buffer.toString('latin1', 0, 10), '0123ab6789')
  closeSync(fd)
  // Any other call may change errno: it is asked at once.
  t.strictSame([read(fd, buffer, 1), errno()], [-1, ERRNO.EBADF])
  t.strictSame([write(-1, buffer, 1), errno()], [-1, ERRNO.EBADF])
})

t.test('ioctl() of what knows none is ENOTTY', async (t) => {
  const fd = openSync('/dev/null', 'r')
  const argument = Buffer.alloc(64)
  t.strictSame([ioctl(fd, 0x5401, argument), errno()], [-1, ERRNO.ENOTTY])
  closeSync(fd)
})

t.test('what mount(2) and umount2(2) refuse', async (t) => {
  const dir = t.testdir()
  t.throws(() => mount('none', join(dir, 'absent'), 'tmpfs', MS.RDONLY, ''), {
    code: process.getuid?.() === 0 ? 'FLIST_MOUNT_FAILED' : 'FLIST_NOT_PERMITTED',
    message: /^Cannot mount tmpfs on ".*absent": (ENOENT|EPERM)$/,
  })
  const refused = process.getuid?.() === 0 ? ERRNO.EINVAL : ERRNO.EPERM
  t.equal(umount(dir, 0), refused)
  t.equal(await umountAsync(dir, MNT.DETACH), refused)
  t.equal(
    await mountAsync('none', join(dir, 'absent'), 'tmpfs', 0, ''),
    refused === ERRNO.EPERM ? refused : ERRNO.ENOENT,
  )
})

t.test('failed() names the call and its errno', async (t) => {
  const error = failed('FLIST_SYSTEM', 'do it', ERRNO.EBUSY, 'Wait')
  t.match(error, { code: 'FLIST_SYSTEM', message: 'Cannot do it: EBUSY', hint: 'Wait' })
  t.equal(failed('FLIST_SYSTEM', 'do it', 200).message, 'Cannot do it: errno 200')
})
