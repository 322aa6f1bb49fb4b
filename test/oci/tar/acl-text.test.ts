import t from 'tap'
import { aclText, aclValue } from '../../../lib/oci/tar/acl-text.ts'

const VALUE = Buffer.from(
  '0200000001000700ffffffff02000700d204000004000500ffffffff080005002e16000010000700ffffffff20000000ffffffff',
  'hex',
)

void t.test('an ACL is the same as text and as the kernel has it', (t) => {
  const text = 'user::rwx\nuser:1234:rwx\ngroup::r-x\ngroup:5678:r-x\nmask::rwx\nother::---'
  t.equal(aclText(VALUE), text)
  t.strictSame(aclValue(text), VALUE)
  t.end()
})

void t.test('aclValue() reads what tars have: commas, short words, numbers behind, comments, any order', (t) => {
  const text = 'o::---,m::rwx,u:lisa:rwx:1234,u::rwx #effective:rwx,g:5678:r-x\ng::r-x\n'
  t.strictSame(aclValue(text), VALUE)
  t.end()
})

void t.test('what is no ACL is none', (t) => {
  for (const text of ['', 'user:lisa:rwx', 'user::rw', 'all::rwx', 'user:99999999999:rwx', 'default:user::rwx'])
    t.equal(aclValue(text), undefined, text)
  const other = Buffer.from(VALUE)
  other[0] = 3
  for (const value of [Buffer.alloc(0), VALUE.subarray(0, 9), other, Buffer.from('0200000003000700ffffffff', 'hex')])
    t.equal(aclText(value), undefined)
  t.end()
})
