import type { Command } from 'commander'
import { archiveWords, type ArchiveOptions, reportOf } from './archive-options.ts'
import { table } from './output.ts'
import { collect, type Context, verb } from './verb.ts'

type Done = (code: number) => void

interface SignWords extends ArchiveOptions {
  readonly key: string[]
  readonly detached?: true
  readonly output?: string
}

/** `flistfs sign` and `flistfs keygen`. */
export function addSigning(program: Command, context: Context, done: Done): void {
  verb(program, 'sign', 'sign an archive with an ed25519 key')
    .argument('<archive>', 'as for mount')
    .requiredOption('-k, --key <file>', 'a private key, of keygen, OpenSSH or OpenSSL (repeatable)', collect)
    .option('--detached', 'write the signature to ARCHIVE.sig, and leave the archive as it is')
    .option('-o, --output <file>', 'write there')
    .option('--cache <dir>', 'folder of the cache')
    .option('--hub <url>', 'the hub that user/name.flist is on')
    .option('--digest <sha256:hex>', 'refuse an archive that has another digest')
    .action(async (archive: string, words: SignWords) => {
      const { signArchive } = await import('../lib/commands/sign.ts')
      const { key: keys, detached = false, output } = words
      const request = { ...archiveWords(archive, words), keys, detached, output }
      const signed = await signArchive(request, reportOf(context), context.signal)
      const text = [
        ['signed', signed.file],
        ['digest', `sha256:${signed.digest}`],
        ...signed.keys.map((key) => ['by', key]),
      ]
      context.output.result(signed, table(text))
      done(0)
    })
  verb(program, 'keygen', 'make an ed25519 key to sign archives with')
    .argument('<file>', 'the private key; the public one is FILE.pub')
    .option('-C, --comment <text>', 'what the public key says of itself; your name where nothing is said')
    .action(async (file: string, { comment }: { comment?: string }) => {
      const { makeKey } = await import('../lib/commands/sign.ts')
      const made = makeKey(file, comment)
      const rows = [
        ['private', made.file],
        ['public', made.publicFile],
        ['fingerprint', made.fingerprint],
      ]
      context.output.result(made, table(rows))
      done(0)
    })
}
