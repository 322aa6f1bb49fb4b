import t from 'tap'
import { hostAccounts } from '../../../lib/flist/v1/accounts.ts'

void t.test('hostAccounts() knows the machine’s names, decimal ids, and nobody else', (t) => {
  const dir = t.testdir({
    passwd:
      'root:x:0:0:root:/root:/bin/sh\nuser:x:1234:99::/:\nuser:x:7:7\nbroken\nlarge:x:4294967296:0\n:x:5:5\n12:x:77:77\n',
    group: 'wheel:x:10:root\n',
  })
  const accounts = hostAccounts(dir)
  t.equal(accounts.user('root'), 0)
  t.equal(accounts.user('user'), 1234, 'the first one counts')
  t.equal(accounts.user('large'), 1000)
  t.equal(accounts.user('absent'), 1000)
  t.equal(accounts.user(''), 1000)
  t.equal(accounts.user('broken'), 1000)
  t.equal(accounts.user('12'), 77, 'a name of digits')
  t.equal(accounts.user('4711'), 4711)
  t.equal(accounts.user('-2'), 4294967294)
  t.equal(accounts.user('-1'), 1000)
  t.equal(accounts.user('4294967296'), 1000)
  t.equal(accounts.group('wheel'), 10)
  t.equal(accounts.group('user'), 1000)
  t.end()
})

void t.test('hostAccounts() does without files', (t) => {
  const dir = t.testdir({ group: {} })
  const accounts = hostAccounts(dir)
  t.equal(accounts.user('root'), 1000)
  t.throws(() => accounts.group('root'), { code: 'EISDIR' })
  t.end()
})
