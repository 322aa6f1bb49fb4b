/**
 * The file of a thread, which lies beside the one that starts it. TypeScript does not rewrite URLs: in the source it ends in `.ts`,
 * published in `.cjs` (docs/decisions/268). `importer`: the `import.meta.url` of who asks.
 */
export function threadUrl(name: string, importer: string): URL {
  return new URL(`./${name}.${importer.endsWith('.ts') ? 'ts' : 'cjs'}`, importer)
}
