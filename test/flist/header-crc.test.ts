import { crc32 } from 'node:zlib'
import t from 'tap'
import { headerCrc } from '../../lib/flist/header-crc.ts'

t.test('headerCrc() says what zlib says', async (t) => {
  const every = Buffer.from(Array.from({ length: 508 }, (_, at) => (at * 167 + (at >> 3)) & 255))
  for (const bytes of [Buffer.alloc(0), Buffer.from('123456789'), Buffer.alloc(508), Buffer.alloc(508, 255), every]) {
    t.equal(headerCrc(bytes), crc32(bytes))
  }
  t.equal(headerCrc(Buffer.from('123456789')), 0xcbf4_3926)
})
