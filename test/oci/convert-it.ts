import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { SILENT } from '../../lib/base/index.ts'
import { convert, type ConvertResult, type ConvertWords } from '../../lib/commands/convert.ts'
import type { Difference } from '../../lib/flist/index.ts'
import { diffTrees } from '../../lib/commands/diff.ts'

const REPORT = { warn: () => undefined, progress: undefined }

export function signal(): AbortSignal {
  return AbortSignal.timeout(1_200_000)
}

/** Converts into `DIR/NAME.fl`, blocks and cache in DIR too. */
export async function convertIn(
  dir: string,
  image: string,
  name: string,
  words: Partial<ConvertWords> = {},
  warn: (message: string) => void = () => undefined,
): Promise<ConvertResult & { readonly path: string }> {
  const path = join(dir, `${name}.fl`)
  mkdirSync(join(dir, 'blocks'), { recursive: true })
  const request: ConvertWords = {
    image,
    archive: path,
    format: 'fl',
    stores: [`dir://${dir}/blocks`],
    keepPassword: false,
    platform: 'linux/amd64',
    startup: false,
    mirrors: [],
    plainHttp: [],
    cacheDir: join(dir, 'cache'),
    threads: 1,
    ...words,
  }
  return { ...(await convert(request, { ...REPORT, warn }, signal())), path }
}

/** What differs between two trees, each an archive or a folder: `changed etc/passwd mode,owner`. */
export async function differences(
  dir: string,
  a: string,
  b: string,
  ignore: readonly Difference[] = [],
): Promise<string[]> {
  const words = (archive: string) => ({ archive, cacheDir: join(dir, 'cache'), hub: undefined })
  const found: string[] = []
  const content = { stores: [], timeoutMs: undefined, cacheBytesMax: undefined }
  await diffTrees(
    { before: words(a), after: words(b), ignore: new Set(ignore), content },
    REPORT,
    ({ change, path, differences: what }) => found.push(`${change} ${path.toString('latin1')} ${what.join()}`.trim()),
    SILENT,
    signal(),
  )
  return found
}
