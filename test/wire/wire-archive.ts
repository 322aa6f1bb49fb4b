import { ArchiveMaker, DIR, FILE, noise } from '../vfs/sample-archive.ts'

/** The tree that the fixtures' requests are about: node ids in them are its rows plus one. */
export function wireArchive(): ArchiveMaker {
  return new ArchiveMaker()
    .add('dir', DIR)
    .add('dir/child', FILE)
    .add('dir/long-name-of-27-characters', 0o040700)
    .add('file', 0o104755, {
      content: noise('file', 10_000),
      uid: 1000,
      gid: 1001,
      mtime: -1,
      mtimeNs: 5,
      ctime: 4_294_967_296,
      ctimeNs: 6,
      xattrs: [{ name: Buffer.from('user.note'), value: Buffer.from('value') }],
    })
    .add('link', 0o120777, { target: 'dir/child' })
    .add('stalled', FILE, { content: noise('stalled', 4096) })
}
