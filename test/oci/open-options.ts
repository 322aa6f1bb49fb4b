import type { OpenImageOptions } from '../../lib/oci/open-image.ts'

/** How tests open images where nothing else is said: no mirrors, no word to anybody; layers are kept in `spoolFolder`. */
export function openOptions(spoolFolder: string, more: Partial<OpenImageOptions> = {}): OpenImageOptions {
  const silent = { warn: () => undefined, onBytes: () => undefined }
  return { platform: 'linux/amd64', mirrors: [], plainHttp: [], spoolFolder, ...silent, ...more }
}
