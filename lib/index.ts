/** The public door of the package: what is proven. Everything else may change. */
export { BugError, ERROR_TABLE, FlistError } from './base/index.ts'
export type { FlistErrorCode, FlistErrorOptions } from './base/index.ts'
export { compileArchive, detectFormat, findPath, locateIndex, openIndex, rowStat, walk } from './flist/index.ts'
export type {
  ArchiveFormat,
  Change,
  CompileOptions,
  Difference,
  FlistIndex,
  FoundPath,
  LocatedIndex,
  LocateOptions,
  Route,
  RowStat,
  Step,
} from './flist/index.ts'
export type { LeftOut, PackResult, Problem, WrittenArchive } from './make/index.ts'
export { resolveArchive } from './store/index.ts'
export type { ResolvedArchive, ResolveOptions } from './store/index.ts'
export { list as listMounts } from './commands/list.ts'
export type { ListedMount } from './commands/list.ts'
export { mountArchive } from './commands/mount.ts'
export type { MountReport, MountRequest, MountResult } from './commands/mount.ts'
export { stats as mountStats } from './commands/stats.ts'
export type { MountStats, ServerStats } from './commands/stats.ts'
export { umount } from './commands/umount.ts'
export {
  convertImage,
  diffArchives,
  exportArchive,
  inspectArchive,
  mergeArchives,
  openArchive,
  packArchive,
  readArchiveFile,
  statArchivePaths,
  unpackArchive,
  verifyArchive,
} from './commands/library.ts'
export type {
  ContentOptions,
  ConvertOptions,
  DiffOptions,
  ExportOptions,
  LibraryOptions,
  MergeOptions,
  OpenOptions,
  PackOptions,
  UnpackOptions,
  VerifyOptions,
} from './commands/library.ts'
export type { ConvertResult } from './commands/convert.ts'
export type { DiffCounts } from './commands/diff.ts'
export type { ExportResult } from './commands/export.ts'
export type { Inspection, StatResult } from './commands/look.ts'
export type { OpenedArchive } from './commands/open-archive.ts'
export type { UnpackOutcome } from './commands/unpack.ts'
export type { VerifyOutcome } from './commands/verify.ts'
