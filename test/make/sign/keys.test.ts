import { execFileSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { FlistError } from '../../../lib/base/index.ts'
import {
  addSignatures,
  checkSignatures,
  fingerprint,
  parsePrivateKey,
  parsePublicKeys,
  parseSignatures,
  publicKeyLine,
  signaturesText,
} from '../../../lib/make/index.ts'
import { only } from '../../only.ts'
import { lacks } from '../../e2e/lab.ts'

// Keys of other types take long to make.
t.setTimeout(600_000)

const NO_SSH = lacks('ssh-keygen')
const NO_OPENSSL = lacks('openssl')

function run(command: string, words: readonly string[]): string {
  return execFileSync(command, words, { encoding: 'utf8', timeout: 120_000, stdio: ['ignore', 'pipe', 'pipe'] })
}

function read(dir: string, name: string): string {
  return readFileSync(join(dir, name), 'utf8')
}

/** A key as ssh-keygen makes it: FILE and FILE.pub. */
function sshKey(dir: string, name: string, ...words: readonly string[]): string {
  run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', `${name} of a test`, '-f', join(dir, name), ...words])
  return read(dir, name)
}

function why(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof FlistError && error.code === 'FLIST_USAGE') return `${error.message}; ${error.hint}`
    throw error
  }
  return 'nothing thrown'
}

void t.test('keys of ssh-keygen sign, and its files name them', { skip: NO_SSH }, async (t) => {
  const dir = t.testdir()
  const secret = parsePrivateKey(sshKey(dir, 'a'), 'a')
  const [public_, ...none] = parsePublicKeys(read(dir, 'a.pub'), 'a.pub')
  t.strictSame([public_?.key, public_?.comment, none], [secret.key, 'a of a test', []])
  t.equal(`${publicKeyLine(public_ ?? { key: '', comment: '' })}\n`, read(dir, 'a.pub'), 'the line is written as read')
  t.match(run('ssh-keygen', ['-l', '-f', join(dir, 'a.pub')]), fingerprint(secret.key))
  const [signature] = addSignatures([], 'statement', [secret])
  t.match(only(checkSignatures('statement', signature ? [signature] : [])), { valid: true })
  t.match(only(checkSignatures('Statement', signature ? [signature] : [])), { valid: false })
  t.ok(parsePrivateKey(read(dir, 'a').replaceAll('\n', '\r\n'), 'a'), 'with the line ends of another system')
})

void t.test('keys of OpenSSL sign, and it agrees with the signatures', { skip: NO_OPENSSL }, async (t) => {
  const dir = t.testdir()
  const at = (name: string): string => join(dir, name)
  run('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', at('k')])
  run('openssl', ['pkey', '-in', at('k'), '-pubout', '-out', at('k.pem')])
  const secret = parsePrivateKey(read(dir, 'k'), 'k')
  t.strictSame(parsePublicKeys(`# a comment\n${read(dir, 'k.pem')}\n`, 'k.pem'), [{ key: secret.key, comment: '' }])
  const [signature] = addSignatures([], 'statement', [secret])
  writeFileSync(at('sig'), Buffer.from(signature?.sig ?? '', 'base64'))
  writeFileSync(at('text'), 'statement')
  const words = [
    'pkeyutl',
    '-verify',
    '-pubin',
    '-inkey',
    at('k.pem'),
    '-rawin',
    '-in',
    at('text'),
    '-sigfile',
    at('sig'),
  ]
  t.match(run('openssl', words), /Verified Successfully/)
})

void t.test('keys that cannot be used are named, with what to do', { skip: NO_SSH || NO_OPENSSL }, async (t) => {
  const dir = t.testdir()
  const key = sshKey(dir, 'plain')
  sshKey(dir, 'locked')
  run('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'password of a test', '-f', join(dir, 'locked')])
  run('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', join(dir, 'rsa')])
  run('openssl', ['genpkey', '-algorithm', 'ed25519', '-aes256', '-pass', 'pass:abcd', '-out', join(dir, 'locked.pem')])
  run('openssl', ['genpkey', '-algorithm', 'x25519', '-out', join(dir, 'x25519.pem')])
  const secret = (name: string): string => why(() => parsePrivateKey(read(dir, name), `"${name}"`))
  t.match(secret('locked'), /"locked".*passphrase.*ssh-keygen -p/)
  t.match(secret('locked.pem'), /"locked.pem".*passphrase.*openssl pkey/)
  t.match(secret('rsa'), /"rsa".*another type.*ssh-keygen -t ed25519/)
  t.match(secret('x25519.pem'), /type x25519/)
  t.match(secret('plain.pub'), /it is a public key/)
  const open = (name: string): string => why(() => parsePublicKeys(read(dir, name), `"${name}"`))
  t.match(open('plain'), /it is a private key/)
  t.match(open('rsa.pub'), /keys of other types only/)
  t.match(
    why(() => parsePublicKeys('', '"x"')),
    /it has no key/,
  )
  t.match(
    why(() => parsePublicKeys(`from="h" ${read(dir, 'plain.pub')}`, '"x"')),
    /line 1.*begins with "from="h""/,
  )
  t.match(
    why(() => parsePublicKeys(read(dir, 'plain.pub').replace('AAAA', 'AAAB'), '"x"')),
    /is no such key/,
  )
  const lines = `# keys\n\n${read(dir, 'rsa.pub')}${read(dir, 'plain.pub')}  ${read(dir, 'locked.pub')}`
  t.equal(parsePublicKeys(lines, '"x"').length, 2, 'as in authorized_keys')
  for (const message of [secret('locked'), open('plain')]) t.notMatch(message, key.split('\n')[1] ?? '', 'no secret')
})

const SEED_KEY = createPrivateKey({
  key: Buffer.from(`302e020100300506032b657004220420${'07'.repeat(32)}`, 'hex'),
  format: 'der',
  type: 'pkcs8',
})

void t.test('parseSignatures() takes what signaturesText() writes and nothing else', async (t) => {
  const pem = (): string =>
    generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  const [a, b] = [parsePrivateKey(pem(), 'a'), parsePrivateKey(pem(), 'b')]
  const one = addSignatures([], 'first', [a])
  const both = addSignatures(one, 'second', [b])
  t.strictSame(parseSignatures(signaturesText(both), 'x'), JSON.parse(signaturesText(both)))
  t.equal(
    signaturesText(both),
    signaturesText(addSignatures(addSignatures([], 'second', [b]), 'first', [a])),
    'any order',
  )
  const again = addSignatures(both, 'second', [a])
  t.strictSame(
    checkSignatures('second', again).map(({ valid }) => valid),
    [true, true],
    'a key that signs again takes the place of its older signature',
  )
  const [good] = one
  const bad = [
    '',
    '{}',
    'null',
    '[null]',
    '[{}]',
    JSON.stringify([{ ...good, at: 1 }]),
    JSON.stringify([{ ...good, alg: 'ed448' }]),
    JSON.stringify([{ ...good, key: `${good?.key}=` }]),
    JSON.stringify([{ ...good, key: good?.key.replace(/.=$/, '') }]),
    JSON.stringify([{ ...good, sig: good?.key }]),
    JSON.stringify([good, good]),
    JSON.stringify(Array.from({ length: 65 }, () => good)),
    `[${' '.repeat(70_000)}]`,
  ]
  for (const text of bad) {
    t.throws(() => parseSignatures(text, '"x"'), { code: 'FLIST_ARCHIVE_DAMAGED' }, text.slice(0, 60))
  }
  const point = [{ alg: 'ed25519', key: Buffer.alloc(32, 0xff).toString('base64'), sig: good?.sig ?? '' }] as const
  t.match(only(checkSignatures('first', point)), { valid: false }, 'a key that is none')
})

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 300)
const SEED = Number(process.env['FLISTFS_FUZZ_SEED'] ?? Date.now() % 2 ** 31)
const CHANGES = fc.array(fc.record({ at: fc.nat(), byte: fc.nat(255), cut: fc.boolean() }), {
  minLength: 1,
  maxLength: 4,
})

function changed(bytes: Buffer, changes: readonly { at: number; byte: number; cut: boolean }[]): Buffer {
  let copy = Buffer.from(bytes)
  for (const { at, byte, cut } of changes) {
    if (copy.length === 0) break
    copy[at % copy.length] = byte
    if (cut && byte % 8 === 0) copy = copy.subarray(0, at % copy.length)
  }
  return copy
}

void t.test('changed keys and signatures give a coded error, or what they say', { skip: NO_SSH }, async (t) => {
  const dir = t.testdir()
  const openssh = sshKey(dir, 'key')
  const pem = SEED_KEY.export({ format: 'pem', type: 'pkcs8' }).toString()
  const inside = Buffer.from(openssh.split('\n').slice(1, -2).join(''), 'base64')
  const signature = {
    alg: 'ed25519',
    key: 'A'.repeat(43) + '=',
    sig: sign(null, Buffer.from('x'), SEED_KEY).toString('base64'),
  }
  const inPem = (bytes: Buffer): string =>
    `-----BEGIN OPENSSH PRIVATE KEY-----\n${bytes.toString('base64')}\n-----END OPENSSH PRIVATE KEY-----\n`
  const readers: readonly [Buffer, (bytes: Buffer) => unknown][] = [
    [Buffer.from(openssh), (bytes) => parsePrivateKey(bytes.toString('latin1'), '"x"')],
    [inside, (bytes) => parsePrivateKey(inPem(bytes), '"x"')],
    [Buffer.from(pem), (bytes) => parsePrivateKey(bytes.toString('latin1'), '"x"')],
    [Buffer.from(read(dir, 'key.pub')), (bytes) => parsePublicKeys(bytes.toString('latin1'), '"x"').map(publicKeyLine)],
    [
      Buffer.from(JSON.stringify([signature])),
      (bytes) => checkSignatures('x', parseSignatures(bytes.toString('latin1'), '"x"')),
    ],
  ]
  t.comment(`seed ${SEED}, ${RUNS} runs`)
  let refused = 0
  fc.assert(
    fc.property(fc.nat(readers.length - 1), CHANGES, (which, changes) => {
      const [bytes, use] = readers[which] ?? [Buffer.alloc(0), () => undefined]
      try {
        use(changed(bytes, changes))
      } catch (error) {
        if (!(error instanceof FlistError)) throw error
        refused += 1
      }
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.ok(refused > 0, `${refused} of ${RUNS} were refused`)
})
