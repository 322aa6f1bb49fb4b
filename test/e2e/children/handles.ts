// Takes handles of files, has the kernel drop its caches, and opens them by handle: sh bin/node handles.ts MOUNT PATH...
import koffi from 'koffi'
import { closeSync, fstatSync, openSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const AT_FDCWD = -100
const HANDLE_BYTES_MAX = 128
const O_PATH = 0o10000000

const libc = koffi.load('libc.so.6')
const nameToHandle = libc.func(
  'int name_to_handle_at(int dir, const char *path, uint8_t *handle, _Out_ int *mountId, int flags)',
)
const openByHandle = libc.func('int open_by_handle_at(int mountFd, uint8_t *handle, int flags)')

const [mount = '', ...paths] = process.argv.slice(2)
const handles = paths.map((path) => {
  const handle = Buffer.alloc(8 + HANDLE_BYTES_MAX)
  handle.writeUInt32LE(HANDLE_BYTES_MAX, 0)
  if (nameToHandle(AT_FDCWD, join(mount, path), handle, [0], 0) !== 0)
    throw new Error(`no handle of ${path}: errno ${koffi.errno()}`)
  return { path, handle, ino: statSync(join(mount, path)).ino }
})
writeFileSync('/proc/sys/vm/drop_caches', '3')
const mountFd = openSync(mount, 'r')
for (const { path, handle, ino } of handles) {
  const fd: number = openByHandle(mountFd, handle, O_PATH)
  if (fd < 0) console.log(`${path}: errno ${koffi.errno()}`)
  else {
    console.log(`${path}: ${fstatSync(fd).ino === ino ? 'same' : 'another'}`)
    closeSync(fd)
  }
}
closeSync(mountFd)
