import { invariant } from './errors.ts'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/** Every limit, with its unit. Hostile input ends here, with FLIST_LIMIT. */
export const LIMITS = {
  /** Plain bytes in one block; both formats (fl-v1-rfs.md 1.3, flist-v1.md 5.3). */
  blockBytesMax: 512 * KiB,
  /** Stored bytes of one block: snappy's worst growth and the cipher's trailer. */
  storedBlockBytesMax: 640 * KiB,
  /** Bytes of one name, `NAME_MAX` of the kernel. */
  nameBytesMax: 255,
  /** Bytes of a symbolic link's target, `PATH_MAX` less its NUL. */
  linkTargetBytesMax: 4095,
  /** Bytes of a path in the address of a unix socket: `sun_path` less its NUL, `unix(7)`. */
  socketPathBytesMax: 107,
  /** Levels of folders below the root. */
  treeDepthMax: 2048,
  /** Inodes (rows) in one archive. */
  entriesMax: 64_000_000,
  /** Bytes of all names and link targets of one archive. */
  namesBytesMax: 2 * GiB,
  /** Bytes of all names and values of extended attributes of one archive. */
  xattrsBytesMax: 1 * GiB,
  /** Different pairs of owner and group in one archive. */
  ownersMax: 1_000_000,
  /** Block references in one archive. */
  blocksMax: 64_000_000,
  /** Bytes of one file. */
  fileBytesMax: 2 ** 52,
  /** Bytes of an archive as it lies on disk. */
  archiveBytesMax: 16 * GiB,
  /** Of an archive that is fetched at least so much comes in so many milliseconds: a server that trickles is one that does not answer. */
  fetchedBytesMin: 16 * KiB,
  fetchedWindowMs: 30_000,
  /** Bytes of a v1 database after gunzip. */
  unpackedArchiveBytesMax: 32 * GiB,
  /** Unpacked over packed bytes of a v1 archive, above the first 64 MiB. */
  unpackRatioMax: 200,
  /** Members of a v1 tar. */
  tarMembersMax: 1024,
  /** Bytes of one Cap'n Proto message (one directory). */
  messageBytesMax: 1 * GiB,
  /** Bytes of an extended attribute's value, `XATTR_SIZE_MAX`. */
  xattrValueBytesMax: 64 * KiB,
  /** Bytes of an extended attribute's name, `XATTR_NAME_MAX`. */
  xattrNameBytesMax: 255,
  /** Bytes of all names LISTXATTR returns for one inode, `XATTR_LIST_MAX`. */
  xattrListBytesMax: 64 * KiB,
  /** Bytes of a tag's value, or of router.yaml. */
  tagBytesMax: 1 * MiB,
  /** Bytes of all tags of one archive. */
  tagsBytesMax: 64 * MiB,
  /** Tags in one archive. */
  tagsMax: 4096,
  /** Bytes of one route's URL. */
  routeUrlBytesMax: 8 * KiB,
  /** Routes in one archive. */
  routesMax: 4096,
  /** Bytes of one READ, `max_pages` 256. */
  readBytesMax: 1 * MiB,
  /** Bytes of the frame buffer beyond a READ: headers and names. */
  frameOverheadBytes: 8 * KiB,
  /** Requests the kernel may keep in the background; see `docs/wire.md`. */
  backgroundRequestsMax: 4096,
  /** Milliseconds until a read that cannot be served fails. */
  readTimeoutMs: 30_000,
  /** Milliseconds of one try at one store. */
  tryTimeoutMs: 10_000,
  /** Tries at one store for one block. */
  triesPerStore: 3,
  /** Tries at one store for writing one block, and milliseconds after which no further one begins. */
  triesPerWrite: 6,
  writeTimeoutMs: 60_000,
  /** Milliseconds a store that failed is asked last. */
  storeCoolDownMs: 5_000,
  /** Failures in a row after which a store is left alone but for a probe now and then. */
  failuresToOpen: 5,
  /** Milliseconds until the first probe of a store that is left alone; doubled by each that fails, up to the second. */
  breakerPauseMs: 250,
  breakerPauseMaxMs: 10_000,
  /** Milliseconds after the last probe that a read which nobody else answers is another. */
  breakerNeedMs: 1_000,
  /** Requests that wait for one store which has answered nobody for `storeStallMs`; more are refused. */
  waitingPerStore: 1024,
  /** Milliseconds. */
  storeStallMs: 2_000,
  /** Connections to one store. */
  connectionsPerStore: 16,
  /** Milliseconds a block's failure is remembered: the kernel asks up to three times before a reader sees EIO. */
  failureMemoryMs: 2_000,
  /** Files that `unpack` writes at a time, and blocks that it waits for. */
  unpackFilesAtOnce: 64,
  unpackBlocksAtOnce: 64,
  /** Milliseconds for which a warning that comes again is only counted. */
  sameWarningMs: 10_000,
  /** Bytes of one shared segment of the cache. */
  segmentBytes: 256 * MiB,
  /** Files of this size and more get a segment of their own. */
  ownSegmentBytesMin: 64 * MiB,
  /** Milliseconds one process waits while another compiles the same archive. */
  compileWaitMs: 600_000,
  /** Bytes of the cache when nobody says otherwise: this, or a quarter of the disk. */
  cacheBytesDefault: 10 * GiB,
  /** Bytes of free disk that the cache leaves alone. */
  freeDiskBytesMin: 256 * MiB,
  /** Bytes of a shared segment at the least, where the whole cache is small. */
  segmentBytesMin: 1 * MiB,
  /** Milliseconds one statement waits for another process that writes the cache's database. */
  cacheBusyTimeoutMs: 1_000,
  /** Milliseconds a block's row may lie in memory before it is committed. */
  cacheBatchMs: 5,
  /** Rows that wait for a database which cannot be written; more are given up, with the blocks' place in the cache. */
  cachePendingRowsMax: 65_536,
  /** Milliseconds a claim on a block holds while its owner lives. */
  claimMs: 30_000,
  /** Milliseconds a segment file without a row is left alone. */
  orphanAgeMs: 600_000,
  /** Bytes of a trace; a second file holds what came before. */
  traceBytesMax: 64 * MiB,
  /** Files whose waits are counted each. */
  waitedFilesMax: 1024,
  /** Errors of reads that are kept to be shown. */
  readErrorsMax: 64,
  /** Bytes of a settings file. */
  settingsBytesMax: 1 * MiB,
  /** Bytes of one manifest, index or configuration of an image. */
  manifestBytesMax: 4 * MiB,
  /** Manifests of one index. */
  manifestsMax: 4096,
  /** Indexes within indexes. */
  indexDepthMax: 4,
  /** Layers of one image. */
  layersMax: 1024,
  /** Milliseconds until a registry's answer begins, and between its pieces. */
  registryTimeoutMs: 60_000,
  /** Milliseconds until all of a registry's small answer is here: a token, a manifest, a configuration. */
  registrySmallAnswerMs: 300_000,
  /** Tries of one request to a registry, and tries in a row that bring nothing of a layer. */
  registryTries: 5,
  /** Milliseconds a registry may want us to wait; where it wants more the command ends. */
  registryWaitMaxMs: 120_000,
  registryRedirectsMax: 5,
  /** Milliseconds a `docker-credential-*` program may take. */
  credentialHelperMs: 30_000,
  /** Layers fetched at once. */
  layersAtOnce: 3,
  /** Milliseconds that layers of a conversion that failed are kept for the next try. */
  layersKeptMs: 7 * 24 * 3_600_000,
  /** Files in an archive of images (`oci-archive:`, `docker-archive:`). */
  archiveMembersMax: 100_000,
  /** Bytes of their names, and of what they are links to. */
  archiveNamesBytesMax: 64 * MiB,
  /** Bytes of all layers of one image, as they are fetched. */
  imageBytesMax: 1024 * GiB,
  /** Entries of all layers of one image together, hidden ones too: their names are kept in memory. */
  imageEntriesMax: 4_000_000,
  /** Bytes of all their names, link targets and extended attributes. */
  imageNamesBytesMax: 512 * MiB,
  /** Extended attributes of all of them: each is some hundred bytes of memory, however short it is. */
  imageXattrsMax: 2_000_000,
  /** Parts of names and of links followed that are looked up to merge one image. */
  imageStepsMax: 500_000_000,
  /** Bytes a layer may unfold to at most, holes counted: this many times its stored bytes, or `layerBytesFree`. */
  layerRatioMax: 250,
  layerBytesFree: 1 * GiB,
  /** Bytes all layers together may unfold to: `layerRatioMax` times what they have, each once, or this. */
  imageBytesFree: 16 * GiB,
  /** Bytes of the extension headers before one entry of a tar: pax records, long names. Of all global ones too, which stay in memory. */
  tarHeaderBytesMax: 1 * MiB,
  /** Ranges of one sparse file in a tar. */
  sparseRangesMax: 1_000_000,
  /** Symbolic links followed for one name of a layer; the kernel's own number, `path_resolution(7)`. */
  linksFollowedMax: 40,
} as const

invariant(LIMITS.readBytesMax >= 2 * LIMITS.blockBytesMax, 'a read covers two blocks')
invariant(LIMITS.segmentBytes >= 4 * LIMITS.ownSegmentBytesMin, 'a segment holds several files')
invariant(LIMITS.readTimeoutMs > LIMITS.tryTimeoutMs, 'a read outlives one try')
invariant(LIMITS.waitingPerStore <= LIMITS.backgroundRequestsMax / 4, 'a dead store leaves the kernel slots for others')
invariant(
  LIMITS.storedBlockBytesMax > 32 + LIMITS.blockBytesMax + LIMITS.blockBytesMax / 6,
  'snappy may grow by a sixth',
)
