export { claimOrphan } from './claim-orphan.ts'
export { isDeserted } from './deserted.ts'
export { askControl, reviveError, serveControl } from './control.ts'
export type { ControlHandler, ControlRequest, ControlServer } from './control.ts'
export { MOUNT_TYPE, readMounts, topMount } from './mount-info.ts'
export type { MountEntry } from './mount-info.ts'
export { followName, hintInstead, mountAbove, mountNamed, realpathSoon } from './mount-names.ts'
export { describeUsers, findUsersOfEach, nameUsers } from './mount-users.ts'
export type { MountUsers, ProcessOnTop } from './mount-users.ts'
export type { MountOnTop } from './mounts-on.ts'
export { endServer, isAlive, processNamed, processStart, signalProcess, waitForEnd } from './processes.ts'
export type { ProcessName } from './processes.ts'
export {
  controlSocketPath,
  forgetMount,
  hasRecord,
  isMountOf,
  isServed,
  lastProcess,
  listMounts,
  passingChangesDir,
  recordsOf,
  registerMount,
  unregisterMount,
} from './registry.ts'
export { runSoon } from './run-soon.ts'
export { prepareRuntimeDir, runtimeDir } from './runtime-dir.ts'
export { withSocketPath } from './socket-path.ts'
export type { MountListing, MountRecord, MountState } from './registry.ts'
export type { ServeOptions, ServeWords } from './serve-options.ts'
export { endKept, isKept, keepDevice, letGoOfDevice, takeKept } from './kept-device.ts'
export type { KeptDevice } from './kept-device.ts'
export { loadState, saveState } from './mount-state.ts'
export { clearDead, unmount } from './unmount.ts'
export type { UnmountOptions, UnmountResult } from './unmount.ts'
export { Answers, makeFrames } from './answers.ts'
export type { Frames, MissSink } from './answers.ts'
export { Counters } from './counters.ts'
export type { RequestTimes } from './counters.ts'
export {
  heldDevice,
  mountDevice,
  openDevice,
  raiseReadahead,
  requestResend,
  supervisor,
  supervisorName,
  wantsChecks,
} from './device.ts'
export { requireOverlay, takeAway } from './device-user.ts'
export { Dispatcher } from './dispatch.ts'
export type { DispatcherParts } from './dispatch.ts'
export { FetchClient } from './fetch-client.ts'
export type { FetchMount } from './fetch-client.ts'
export type { FetchMessage, FetchReply, MountMessage, ReadMessage, ReadReply } from './fetch-messages.ts'
export { FetchServer, refuseRead } from './fetch-server.ts'
export { endHolder, heldBy, mayShare, ownHolder, returnDevice, takeDevice } from './holder.ts'
export type { Held } from './holder.ts'
export { Lines } from './lines.ts'
export { loadFuseNative } from './fuse-native/load.ts'
export type { FuseNative } from './fuse-native/load.ts'
export type { FuseNativeMount } from './fuse-native/mount.ts'
export { OpenFiles } from './open-files.ts'
export type { OpensKeeper } from './open-files.ts'
export { Session } from './session.ts'
export type { ChannelParts } from './channel.ts'
export { claimServer, joinSocketPath, releaseServer, sharedKey } from './shared-server.ts'
export { canResend, PendingRequests } from './pending.ts'
export { POSTED_BYTES, PostedReads } from './posted-reads.ts'
export { Trace } from './trace.ts'
export { WaitLog } from './wait-log.ts'
export type { FileWaits, ReadError, Wait } from './wait-log.ts'
