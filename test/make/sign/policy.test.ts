import fc from 'fast-check'
import { parse, TomlError } from 'smol-toml'
import t from 'tap'
import { FlistError } from '../../../lib/base/index.ts'
import { type CheckedSignature, fromSeed, parsePolicy, publicKeyLine, refusal } from '../../../lib/make/index.ts'

const KEYS = [1, 2, 3].map((byte) => fromSeed(Buffer.alloc(32, byte)).key)
const [OURS = '', THEIRS = '', LOST = ''] = KEYS
const DIGEST = 'ab'.repeat(32)

function line(key: string): string {
  return JSON.stringify(publicKeyLine({ key, comment: 'a key' }))
}

function policyOf(text: string, files: Readonly<Record<string, string>> = {}) {
  return parsePolicy(parse(text), 'p', (path) => files[path] ?? '')
}

function signed(...by: readonly [key: string, valid?: boolean][]): CheckedSignature[] {
  return by.map(([key, valid = true]) => ({ alg: 'ed25519', key, sig: '', valid }))
}

async function judge(text: string, signatures: readonly CheckedSignature[], digest = DIGEST): Promise<string> {
  return (await refusal(policyOf(text), digest, async () => signatures)) ?? 'allowed'
}

void t.test('refusal() by keys', async (t) => {
  const policy = `[allow]\nkeys = [${line(OURS)}, ${line(LOST)}]\n[revoke]\nkeys = [${line(LOST)}]`
  t.equal(await judge(policy, signed([OURS])), 'allowed')
  t.equal(await judge(policy, signed([THEIRS], [OURS])), 'allowed', 'one of several is enough')
  t.equal(await judge(policy, signed([LOST], [OURS])), 'allowed', 'and a lost one beside it does no harm')
  t.equal(await judge(policy, []), 'it is not signed')
  t.equal(await judge(policy, signed([THEIRS])), 'none of the keys that signed it is allowed')
  t.equal(await judge(policy, signed([OURS, false])), 'its signature is wrong')
  t.equal(await judge(policy, signed([LOST])), 'a key that signed it is revoked')
})

void t.test('refusal() by digests', async (t) => {
  const policy = `[allow]\ndigests = ["sha256:${DIGEST.toUpperCase()}"]`
  const never = async (): Promise<never> => Promise.reject(new Error('signatures were asked for'))
  t.equal(await refusal(policyOf(policy), DIGEST, never), undefined)
  t.equal(await refusal(policyOf(policy), 'cd'.repeat(32), never), 'its digest is not among those allowed')
  const revoked = `${policy}\nkeys = [${line(OURS)}]\nunsigned = true\n[revoke]\ndigests = ["sha256:${DIGEST}"]`
  t.equal(await refusal(policyOf(revoked), DIGEST, never), 'its digest is revoked', 'whatever else is said')
})

void t.test('refusal() where unsigned archives are allowed', async (t) => {
  const policy = `[allow]\nunsigned = true\n[revoke]\nkeys = [${line(LOST)}]`
  t.equal(await judge(policy, []), 'allowed')
  t.equal(await judge(policy, signed([THEIRS])), 'allowed')
  t.equal(await judge(policy, signed([LOST])), 'a key that signed it is revoked')
  t.equal(await judge(policy, signed([LOST, false])), 'a key that signed it is revoked')
  t.equal(await judge(policy, signed([THEIRS, false])), 'its signature is wrong')
})

void t.test('parsePolicy() takes keys from files', async (t) => {
  const files = { '/etc/keys': `# ours\n${publicKeyLine({ key: OURS, comment: '' })}\n` }
  t.strictSame([...policyOf('[allow]\nkeys = ["/etc/keys"]', files).keys], [OURS])
})

void t.test('parsePolicy() refuses what it does not know', async (t) => {
  const wrong: Readonly<Record<string, RegExp>> = {
    '': /has no \[allow\]/,
    '[revoke]\ndigests = []': /has no \[allow\]/,
    '[allow]\nkyes = []': /"kyes" in \[allow\] is not known/,
    '[allow]\n[revoke]\nunsigned = true': /"unsigned" in \[revoke\] is not known/,
    '[allow]\n[deny]': /"deny" is not known/,
    'version = 2\n[allow]': /"version" is not known/,
    'allow = true': /"allow" is no section/,
    '[[allow]]\nunsigned = true': /"allow" is no section/,
    '[allow]\nunsigned = "yes"': /neither true nor false/,
    '[allow]\ndigests = "sha256:00"': /no list of texts/,
    '[allow]\ndigests = [1]': /no list of texts/,
    '[allow]\ndigests = ["md5:00"]': /not sha256: and 64 hex digits/,
    '[allow]\nkeys = ["AAAA"]': /Cannot use "keys" in \[allow\] of "p"/,
    '[allow]\nkeys = ["/etc/none"]': /"\/etc\/none".*no key/,
    '[allow]\n__proto__ = { unsigned = true }': /"__proto__" in \[allow\] is not known/,
  }
  for (const [text, says] of Object.entries(wrong)) {
    t.throws(() => policyOf(text), { code: 'FLIST_USAGE', message: says }, JSON.stringify(text))
  }
})

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 300)
const SEED = Number(process.env['FLISTFS_FUZZ_SEED'] ?? Date.now() % 2 ** 31)

void t.test('a changed policy is refused, or is one; none allows what nothing in it names', async (t) => {
  const text = `[allow]\nkeys = [${line(OURS)}]\ndigests = ["sha256:${'01'.repeat(32)}"]\n[revoke]\nkeys = [${line(LOST)}]\n`
  const change = fc.record({ at: fc.nat(text.length - 1), what: fc.string({ maxLength: 2 }), less: fc.nat(3) })
  t.comment(`seed ${SEED}, ${RUNS} runs`)
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const changed = changes.reduce((now, { at, what, less }) => now.slice(0, at) + what + now.slice(at + less), text)
      try {
        const policy = policyOf(changed)
        const why = await refusal(policy, DIGEST, async () => signed([THEIRS]))
        if (why === undefined) throw new Error(`it allows: ${changed}`)
      } catch (error) {
        if (!(error instanceof FlistError) && !(error instanceof TomlError)) throw error
      }
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.pass('no run ended otherwise')
})
