import { bytesOf, type ImageSpec, type Item, type LayerSpec, type Part, tarOf } from './make-image.ts'

const folder = (name: string | Buffer, more: Partial<Item> = {}): Item => ({ name, type: 'directory', ...more })
const layer = (...parts: Part[]): LayerSpec => ({ tar: tarOf(parts) })
const many = (count: number): Item[] => Array.from({ length: count }, (_, n) => ({ name: `many/f${n}`, data: `${n}` }))

/** With an entry of each folder: those that none tells of get the time of the unpacking. */
function withFolders(...items: Item[]): LayerSpec {
  const folders = new Set<string>()
  for (const { name } of items) {
    const parts = bytesOf(name).toString('latin1').split('/').slice(0, -1)
    for (const index of parts.keys()) folders.add(parts.slice(0, index + 1).join('/'))
  }
  return layer(...[...folders].map((name) => folder(Buffer.from(name, 'latin1'))), ...items)
}

/** Each shows something that programs which unpack images must agree on. */
export const IMAGES: Readonly<Record<string, ImageSpec>> = {
  'one-layer': {
    layers: [
      layer(
        folder('./', { mode: 0o711, mtime: 1_600_000_000 }),
        folder('etc/', { uid: 7, gid: 8, mode: 0o1777 }),
        { name: 'etc/passwd', data: 'root:x:0:0::/:/bin/sh\n', mode: 0o4711 },
        { name: 'etc/link', type: 'symlink', target: '/nowhere/..//x', mtime: 5 },
        { name: 'etc/hard', type: 'hardlink', target: 'etc/passwd', mode: 0o4711 },
        { name: 'zero', type: 'character', major: 1, minor: 5, mode: 0o666 },
        { name: 'disk', type: 'block', major: 259, minor: 70_000, mode: 0o660, gid: 6 },
        { name: 'pipe', type: 'fifo', mode: 0o600 },
        { name: 'empty' },
        { name: 'large', data: Buffer.alloc(1_300_000, 'content ') },
      ),
    ],
  },
  whiteouts: {
    layers: [
      layer(
        folder('a'),
        { name: 'a/one', data: '1' },
        { name: 'a/two', data: '2' },
        folder('a/sub'),
        { name: 'a/sub/deep', data: 'd' },
        { name: 'gone', data: 'g' },
        folder('b'),
        { name: 'b/stays', data: 's' },
        { name: 'turns', data: 'file' },
        folder('melts'),
        { name: 'melts/in', data: 'x' },
      ),
      layer(
        { name: '.wh.gone' },
        { name: 'a/.wh.one' },
        { name: 'a/.wh.sub' },
        { name: 'a/three', data: '3' },
        folder('turns'),
        { name: 'turns/now', data: 'folder' },
        { name: 'melts', data: 'file' },
        { name: 'b/.wh.absent' },
        { name: 'absent/.wh.too' },
      ),
      layer(
        folder('a/sub', { mode: 0o700 }),
        { name: 'a/sub/new', data: 'n' },
        { name: 'gone', type: 'symlink', target: 'b' },
      ),
    ],
  },
  opaque: {
    layers: [
      layer(
        folder('d'),
        { name: 'd/old', data: 'old' },
        folder('d/e'),
        { name: 'd/e/old', data: 'old' },
        { name: 'keep', data: 'k' },
      ),
      layer(
        folder('d', { mode: 0o750 }),
        { name: 'd/before', data: 'b' },
        { name: 'd/.wh..wh..opq' },
        { name: 'd/after', data: 'a' },
      ),
      layer({ name: 'd/e/.wh..wh..opq' }, folder('d/e'), { name: 'd/e/new', data: 'n' }),
    ],
  },
  'whiteout-behind': {
    layers: [
      layer(folder('d'), { name: 'd/old', data: 'old' }, folder('x'), { name: 'x/y', data: 'y' }),
      layer(
        folder('d'),
        { name: 'd/new', data: 'new' },
        { name: '.wh.d' },
        { name: 'x', data: 'now a file' },
        { name: '.wh.x' },
        // What takes names away touches the folder's time; an entry of it comes after, so that it does not tell.
        folder('d'),
      ),
    ],
  },
  'whiteout-below-a-file': {
    layers: [
      layer(folder('d'), { name: 'd/a', data: 'a' }, folder('e'), { name: 'e/a', data: 'a' }),
      layer({ name: 'd', data: 'a file now' }, { name: 'd/.wh.a' }, { name: 'e/.wh.a' }, { name: '.wh.e' }),
    ],
  },
  'links-across': {
    layers: [
      layer({ name: 'a', data: 'first a', mode: 0o600 }, { name: 'b', type: 'hardlink', target: 'a', mode: 0o600 }),
      layer({ name: 'c', type: 'hardlink', target: '/b', mode: 0o600 }),
      layer({ name: 'a', data: 'second a', mode: 0o644 }, { name: 'd', type: 'hardlink', target: './a', mode: 0o644 }),
      layer(
        { name: '.wh.b' },
        { name: 's', type: 'symlink', target: 'c' },
        { name: 't', type: 'hardlink', target: 's' },
      ),
    ],
  },
  'through-links': {
    layers: [
      layer(
        folder('usr'),
        folder('usr/bin'),
        { name: 'bin', type: 'symlink', target: 'usr/bin' },
        folder('var'),
        { name: 'var/run', type: 'symlink', target: '/run' },
        folder('run'),
      ),
      layer(
        { name: 'bin/tool', data: 'tool', mode: 0o755 },
        { name: 'var/run/pid', data: '1' },
        { name: 'usr/same', type: 'hardlink', target: 'bin/tool', mode: 0o755 },
      ),
      layer(
        { name: 'bin/.wh.tool' },
        { name: 'usr/up', type: 'symlink', target: '../var/run/../run' },
        { name: 'usr/up/two', data: '2' },
      ),
    ],
  },
  attributes: {
    layers: [
      layer(
        {
          name: 'cap',
          data: 'x',
          mode: 0o755,
          xattrs: { 'security.capability': Buffer.from('0100000200200000000000000000000000000000', 'hex') },
        },
        {
          name: 'user',
          data: 'y',
          xattrs: { 'user.plain': 'value', 'user.binary': Buffer.from([0, 255, 10, 61]), 'trusted.t': '' },
        },
        folder('dir', { xattrs: { 'user.on-folder': 'z'.repeat(1000) } }),
      ),
      layer({ name: 'user', data: 'y2', xattrs: { 'user.other': '1' } }, folder('dir', { xattrs: {} })),
    ],
  },
  times: {
    layers: [
      layer(
        { name: 'before-1970', mtime: -1, mtimeNs: 250_000_000 },
        { name: 'long-ago', mtime: -1_000_000_000 },
        { name: 'fraction', mtime: 1_700_000_000, mtimeNs: 123_456_789 },
        { name: 'far', mtime: 8_000_000_000 },
        { name: 'link', type: 'symlink', target: 'x', mtime: 1, mtimeNs: 1 },
        folder('dir', { mtime: 12, mtimeNs: 5 }),
        { name: 'dir/in', data: '' },
      ),
    ],
  },
  names: {
    layers: [
      withFolders(
        { name: Buffer.from([0x66, 0xff, 0xfe, 0x20, 0x0a]), data: 'bytes' },
        { name: 'ü/ß', data: 'utf8' },
        { name: `long/${'n'.repeat(255)}`, data: 'l' },
        { name: `${'deep/'.repeat(60)}file`, data: 'deep' },
        { name: Buffer.concat([Buffer.from('x/'), Buffer.alloc(200, 0xe4)]), data: 'long bytes' },
        { name: 'target', type: 'symlink', target: Buffer.concat([Buffer.alloc(300, 0x61), Buffer.from([0xff])]) },
      ),
      layer({ name: Buffer.concat([Buffer.from('.wh.f'), Buffer.from([0xff, 0xfe, 0x20, 0x0a])]) }),
    ],
  },
  plain: {
    layers: [{ tar: tarOf([{ name: 'a', data: 'not compressed' }]), packing: 'none' }, layer({ name: 'b', data: 'b' })],
  },
  'many-files': {
    layers: [
      layer(folder('many'), ...many(2000)),
      layer(...many(100).map(({ name }) => ({ name: String(name).replace('/f', '/.wh.f') }))),
    ],
  },
  empty: { layers: [layer(), layer(folder('only'))] },
}
