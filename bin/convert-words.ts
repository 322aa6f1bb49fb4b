import { type Command, InvalidArgumentError, Option } from 'commander'
import { displaySize } from '../lib/base/index.ts'
import type { ConvertResult } from '../lib/commands/convert.ts'
import { reportOf } from './archive-options.ts'
import { type Context, verb } from './verb.ts'

interface Words {
  readonly store?: string[]
  readonly format: 'fl' | 'v1'
  readonly keepPassword?: true
  readonly platform?: string
  readonly startup: boolean
  readonly mirror?: string[]
  readonly plainHttp?: string[]
  readonly cache?: string
  readonly sign?: string[]
  readonly jobs?: number
}

/** `flistfs convert`. */
export function addConvert(program: Command, context: Context, done: (code: number) => void): void {
  const collect = (value: string, list: string[] = []): string[] => [...list, value]
  verb(program, 'convert', 'make an archive of a container image')
    .argument(
      '<image>',
      'REGISTRY/NAME:TAG, oci:DIR, oci-archive:FILE, docker-archive:FILE, docker-daemon:NAME, podman:NAME',
    )
    .argument('<archive>', 'the file to write')
    .option('-s, --store <[xx-xx=]url>', 'where blocks go; several for ranges or copies (repeatable)', collect)
    .addOption(new Option('--format <format>', 'fl, or the older v1').choices(['fl', 'v1']).default('fl'))
    .option(
      '--platform <os/arch>',
      'which of several an image is there for: linux/arm64; as this machine where not said',
    )
    .option('--no-startup', 'write no /.startup.toml, from which Zero-OS starts the image')
    .option('--mirror <registry=host>', 'ask this host before the registry (repeatable)', collect)
    .option('--plain-http <host>', 'speak to this registry without TLS (repeatable)', collect)
    .option('--keep-password', 'leave passwords and tokens of stores in the archive')
    .option('--sign <keyfile>', 'sign the archive with this private key (repeatable)', collect)
    .option('-j, --jobs <count>', 'threads that make blocks; one a core where nothing is said', count)
    .option('--cache <dir>', 'folder of the cache: layers wait there to be read')
    .action(async (image: string, archive: string, words: Words) => {
      const { convert } = await import('../lib/commands/convert.ts')
      const request = {
        image,
        archive,
        format: words.format,
        stores: words.store ?? [],
        keepPassword: words.keepPassword ?? false,
        platform: words.platform,
        startup: words.startup,
        mirrors: words.mirror ?? [],
        plainHttp: words.plainHttp ?? [],
        cacheDir: words.cache,
        threads: words.jobs,
        sign: words.sign ?? [],
      }
      const result = await convert(request, reportOf(context), context.signal)
      context.output.result(result, convertText(result))
      done(0)
    })
}

function count(text: string): number {
  if (/^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= 64) return Number(text)
  throw new InvalidArgumentError('a number from 1 to 64 is wanted.')
}

function convertText(result: ConvertResult): string {
  const { archive, digest, entries, bytes, blocks, newBlocks, newBytes, layers, image, imageDigest, platform } = result
  const lines = [
    `${archive}: ${entries} entries, ${displaySize(bytes)}, ${blocks} blocks, ${newBlocks} of them new (${displaySize(newBytes)})`,
    `from ${image}${platform === '' ? '' : ` for ${platform}`}, ${layers} ${layers === 1 ? 'layer' : 'layers'}, ${imageDigest}`,
    ...(result.attributesLeftOut > 0 ? [`${result.attributesLeftOut} extended attributes left out`] : []),
    `sha256:${digest}`,
  ]
  return `${lines.join('\n')}\n`
}
