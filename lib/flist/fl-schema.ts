/** rfs's tables, `fl-v1-rfs.md` 1. */
export const FL_TABLES = `
CREATE TABLE inode (
  ino INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER, name VARCHAR(255), size INTEGER, uid INTEGER,
  gid INTEGER, mode INTEGER, rdev INTEGER, ctime INTEGER, mtime INTEGER
);
CREATE TABLE extra (ino INTEGER PRIMARY KEY, data VARCHAR(4096));
CREATE TABLE block (ino INTEGER, id VARCHAR(32), key VARCHAR(32));
CREATE TABLE tag (key VARCHAR(10) PRIMARY KEY, value VARCHAR(255));
CREATE TABLE route (start integer, end integer, url VARCHAR(2048));
`

/** Made after the rows: a third of the time. */
export const FL_INDEXES = `
CREATE INDEX parents ON inode (parent);
CREATE INDEX names ON inode (name);
CREATE INDEX block_ino ON block (ino);
`

/** Ours, only where needed: `docs/format.md`. */
export const EXTENSION_TABLES = {
  x_xattr: 'CREATE TABLE x_xattr (ino INTEGER, name BLOB, value BLOB, PRIMARY KEY (ino, name)) WITHOUT ROWID',
  x_link: 'CREATE TABLE x_link (ino INTEGER PRIMARY KEY, leader INTEGER)',
  x_time: 'CREATE TABLE x_time (ino INTEGER PRIMARY KEY, mtime_ns INTEGER, ctime_ns INTEGER)',
  x_name: 'CREATE TABLE x_name (ino INTEGER PRIMARY KEY, name BLOB)',
} as const

/**
 * Fields of SQLite's file header that tell of the program and not of the tree; bytes, u32 big-endian
 * (sqlite.org/fileformat2.html, 1.3). The counter and the version must agree, or readers distrust the page count.
 */
export const SQLITE_HEADER = { changeCounter: 24, versionValidFor: 92, versionNumber: 96 } as const
export const FIXED_CHANGE_COUNTER = 1
/** 3.45.0, older than any SQLite that writes here. */
export const FIXED_VERSION_NUMBER = 3_045_000

/** Marks archives with tables of ours; its value is their version. */
export const FORMAT_TAG = 'x-flistfs'
