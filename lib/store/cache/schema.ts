/** Tables of `cache.db`, layout 1; each column is explained in `docs/cache-layout.md`. */
export const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boot (n INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS process (n INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT, pid_ns TEXT, pid INTEGER, start TEXT);
CREATE TABLE IF NOT EXISTS segment (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, bytes INTEGER NOT NULL,
  used INTEGER NOT NULL, boot INTEGER NOT NULL, writer INTEGER NOT NULL, owner TEXT UNIQUE, file_bytes INTEGER NOT NULL,
  whole INTEGER NOT NULL, going INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS block (key BLOB PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
  bytes INTEGER NOT NULL, boot INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run (n INTEGER PRIMARY KEY, segment INTEGER NOT NULL, key_bytes INTEGER NOT NULL, keys BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS run_segment ON run (segment);
CREATE TABLE IF NOT EXISTS claim (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, until INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pin (n INTEGER PRIMARY KEY, name TEXT NOT NULL, key_bytes INTEGER NOT NULL, keys BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS pin_name ON pin (name);
`

/** Every statement, by what it is for. `?1` and so on are named where they are bound, in `ledger.ts`. */
export const SQL = {
  begin: 'BEGIN IMMEDIATE',
  commit: 'COMMIT',
  find: 'SELECT segment, offset, bytes, boot FROM block WHERE key = ?1',
  keysAfter: 'SELECT key FROM block WHERE key > ?1 ORDER BY key LIMIT ?2',
  dataVersion: 'PRAGMA data_version',
  insert: 'INSERT OR IGNORE INTO block VALUES (?1, ?2, ?3, ?4, ?5)',
  drop: 'DELETE FROM block WHERE key = ?1 AND segment = ?2 AND offset = ?3',
  dropKey: 'DELETE FROM block WHERE key = ?1',
  dropFrom: 'DELETE FROM block WHERE key = ?1 AND segment = ?2',
  confirm: 'UPDATE block SET boot = ?4 WHERE key = ?1 AND segment = ?2 AND offset = ?3',
  claim: 'INSERT OR IGNORE INTO claim SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM block WHERE key = ?4)',
  claimOf: 'SELECT owner, until FROM claim WHERE id = ?1',
  takeOver: 'UPDATE claim SET owner = ?2, until = ?3 WHERE id = ?1 AND owner = ?4 AND until = ?5',
  release: 'DELETE FROM claim WHERE id = ?1 AND owner = ?2',
  releaseAll: 'DELETE FROM claim WHERE owner = ?1',
  run: 'INSERT INTO run (segment, key_bytes, keys) VALUES (?1, ?2, ?3)',
  runsOf: 'SELECT n, key_bytes, keys FROM run WHERE segment = ?1 LIMIT 64',
  dropRun: 'DELETE FROM run WHERE n = ?1',
  growShared: 'UPDATE segment SET bytes = max(bytes, ?2), used = ?3 WHERE id = ?1 AND going = 0',
  growOwn: 'UPDATE segment SET bytes = bytes + ?2, used = ?3 WHERE id = ?1 AND going = 0',
  touch: 'UPDATE segment SET used = max(used, ?2) WHERE id = ?1',
  clampUses: 'UPDATE segment SET used = ?1 WHERE used > ?1 + 3600',
  newSegment: 'INSERT INTO segment VALUES (NULL, ?1, 0, ?2, ?3, ?4, ?5, ?6, 0, 0) ON CONFLICT (owner) DO NOTHING',
  segmentOfOwner: 'SELECT id, whole, going, used, bytes FROM segment WHERE owner = ?1',
  adoptable:
    "SELECT id, writer, bytes FROM segment WHERE kind = 'shared' AND going = 0 AND bytes < ?1 ORDER BY used DESC LIMIT 16",
  raise: "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'segment'",
  adopt: 'UPDATE segment SET writer = ?2 WHERE id = ?1 AND writer = ?3 AND going = 0',
  seal: 'UPDATE segment SET writer = 0 WHERE id = ?1 AND writer = ?2',
  whole: 'UPDATE segment SET whole = ?2, bytes = file_bytes WHERE id = ?1 AND going = 0',
  processOf: 'SELECT boot_id, pid_ns, pid, start FROM process WHERE n = ?1',
  processes: 'SELECT n, boot_id, pid_ns, pid, start FROM process',
  forgetProcess: 'DELETE FROM process WHERE n = ?1',
  total: 'SELECT coalesce(sum(bytes), 0) FROM segment',
  victims: 'SELECT id, kind, bytes, used, writer FROM segment ORDER BY going DESC, used, id',
  segmentIds: 'SELECT id FROM segment',
  going: 'UPDATE segment SET going = 1 WHERE id = ?1',
  dropSegment: 'DELETE FROM segment WHERE id = ?1',
  pin: 'INSERT INTO pin (name, key_bytes, keys) VALUES (?1, ?2, ?3)',
  unpin: 'DELETE FROM pin WHERE name = ?1',
  pinsAfter: 'SELECT n, key_bytes, keys, name FROM pin WHERE n > ?1 ORDER BY n LIMIT 1',
  setMeta: 'INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
} as const
