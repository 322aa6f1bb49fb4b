export {
  adopt,
  errno,
  EventCount,
  eventLoopFd,
  exitNow,
  failed,
  FUSE_IOCTL,
  ioctl,
  mapFile,
  MNT,
  mount,
  mountAsync,
  mountFlags,
  MS,
  pread,
  read,
  receiveDescriptor,
  redirect,
  setsid,
  socketPair,
  setTimes,
  setXattr,
  umount,
  umountAsync,
  write,
} from './libc.ts'
export type { Mapping } from './libc.ts'
export {
  closeFd,
  FileStat,
  getXattr,
  hasXattrs,
  listXattrs,
  lockWhole,
  mkdirAt,
  namesIn,
  OPEN_FILE,
  OPEN_FOLDER,
  openAt,
  openHere,
  openPath,
  readlinkAt,
  readSoon,
  renameAt,
  seekData,
  seekHole,
  STAMP_BYTES,
  syncFs,
  unlinkAt,
  zeroEnded,
} from './files.ts'
export type { FileIdentity } from './files.ts'
export { aesGcm, GCM } from './aes-gcm.ts'
export { checkTarget, TemporaryFile } from './temporary-file.ts'
export { BUSY_THREAD, giveBackFreePages, giveBackMemory, keepFreedBlocks } from './memory.ts'
export { isNotified, notifyManager, watchdogEveryMs } from './notify.ts'
export { killProcess, openProcess, takeDescriptor } from './pidfd.ts'
export { POLLERR, POLLHUP, POLLIN, PollSet } from './poll-set.ts'
export { KnownIds, mayMount } from './privileges.ts'
export {
  chownAt,
  linkAt,
  mknodAt,
  removeXattrOf,
  setTime,
  setTimeAt,
  setXattrAt,
  setXattrOf,
  symlinkAt,
} from './entries.ts'
