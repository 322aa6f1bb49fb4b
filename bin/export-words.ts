import type { Command } from 'commander'
import { displaySize } from '../lib/base/index.ts'
import type { ExportResult } from '../lib/commands/export.ts'
import {
  addContentOptions,
  archiveWords,
  type ContentOptions,
  contentWords,
  quietLog,
  reportOf,
} from './archive-options.ts'
import { collect, type Context, verb } from './verb.ts'

/** Exit code for what was done in part. */
const IN_PART = 3
/** Names left out that are told one by one. */
const TOLD_MAX = 50

interface Words extends ContentOptions {
  readonly platform?: string
  readonly plainHttp?: string[]
}

/** `flistfs export`. */
export function addExport(program: Command, context: Context, done: (code: number) => void): void {
  const command = verb(program, 'export', 'make a container image of an archive')
    .argument('<archive>', 'as for mount')
    .argument('<image>', 'oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], or REGISTRY/NAME:TAG')
  addContentOptions(command)
    .option('--platform <os/arch>', 'what it is for, where the archive was not made of an image')
    .option('--plain-http <host>', 'speak to this registry without TLS (repeatable)', collect)
    .action(async (archive: string, image: string, words: Words) => {
      const { exportImage } = await import('../lib/commands/export.ts')
      const { platform, plainHttp = [] } = words
      const request = { ...archiveWords(archive, words), ...contentWords(words), image, platform, plainHttp }
      const result = await exportImage(request, reportOf(context), quietLog(), context.signal)
      if (!context.output.json) {
        for (const { path, why } of result.leftOut.slice(0, TOLD_MAX))
          context.output.warn(`"${path}" is left out: ${why}`)
      }
      context.output.result(result, exportText(result))
      done(result.leftOut.length > 0 ? IN_PART : 0)
    })
}

function exportText({ image, imageDigest, entries, layerBytes, leftOut }: ExportResult): string {
  const lines = [
    `${image}: ${entries} entries, one layer of ${displaySize(layerBytes)}`,
    ...(leftOut.length > 0 ? [`${leftOut.length} names left out`] : []),
    imageDigest,
  ]
  return `${lines.join('\n')}\n`
}
