import type { Command } from 'commander'
import { displaySize } from '../lib/base/index.ts'
import type { ConvertResult } from '../lib/commands/convert.ts'
import { reportOf } from './archive-options.ts'
import { addMakingOptions, type MakingOptions, makingWords } from './making-options.ts'
import { collect, type Context, verb } from './verb.ts'

interface Words extends MakingOptions {
  readonly platform?: string
  readonly startup: boolean
  readonly mirror?: string[]
  readonly plainHttp?: string[]
  readonly cache?: string
}

/** `flistfs convert`. */
export function addConvert(program: Command, context: Context, done: (code: number) => void): void {
  const command = verb(program, 'convert', 'make an archive of a container image')
    .argument(
      '<image>',
      'REGISTRY/NAME:TAG, oci:DIR, oci-archive:FILE, docker-archive:FILE, docker-daemon:NAME, podman:NAME',
    )
    .argument('<archive>', 'the file to write')
  addMakingOptions(command)
    .option(
      '--platform <os/arch>',
      'which of several an image is there for: linux/arm64; as this machine where not said',
    )
    .option('--no-startup', 'write no /.startup.toml, from which Zero-OS starts the image')
    .option('--mirror <registry=host>', 'ask this host before the registry (repeatable)', collect)
    .option('--plain-http <host>', 'speak to this registry without TLS (repeatable)', collect)
    .option('--cache <dir>', 'folder of the cache: layers wait there to be read')
    .action(async (image: string, archive: string, words: Words) => {
      const { convert } = await import('../lib/commands/convert.ts')
      const request = {
        image,
        archive,
        ...makingWords(words),
        platform: words.platform,
        startup: words.startup,
        mirrors: words.mirror ?? [],
        plainHttp: words.plainHttp ?? [],
        cacheDir: words.cache,
      }
      const result = await convert(request, reportOf(context), context.signal)
      context.output.result(result, convertText(result))
      done(0)
    })
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
