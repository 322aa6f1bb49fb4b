export {
  adopt,
  errno,
  eventLoopFd,
  exitNow,
  failed,
  FUSE_IOCTL,
  ioctl,
  mapFile,
  MNT,
  mount,
  mountAsync,
  MS,
  POLLERR,
  POLLHUP,
  POLLIN,
  PollSet,
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
export { giveBackMemory, keepFreedBlocks } from './memory.ts'
export { isNotified, notifyManager, watchdogEveryMs } from './notify.ts'
export { KnownIds, mayMount } from './privileges.ts'
