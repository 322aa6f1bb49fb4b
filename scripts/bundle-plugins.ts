import { readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { build, type BuildOptions, type Plugin } from 'esbuild'

/** These are in the image that Node starts from: asking for them costs nothing. */
const STARTED_WITH: ReadonlySet<string> = new Set([
  'node:buffer',
  'node:events',
  'node:fs',
  'node:path',
  'node:process',
  'node:timers',
  'node:url',
  'node:util',
])

/**
 * Node's own modules, for a bundle in CommonJS of the same options. They are loaded at the first use of one of their names, not
 * where they are imported: `node:crypto` alone is 5 ms, and a mount needs none of those that are slow until it is there. Only
 * names that are used are mentioned: some modules make what others never ask for.
 */
export async function lateBuiltins(options: BuildOptions): Promise<Plugin> {
  const used = await namesUsed(options)
  return {
    name: 'late-builtins',
    setup: (build) => {
      build.onResolve({ filter: /^[a-z]/ }, ({ path }) =>
        isBuiltin(path) ? { path: path.replace(/^(?!node:)/, 'node:'), namespace: 'builtin' } : undefined,
      )
      build.onLoad({ filter: /^/, namespace: 'builtin' }, ({ path }) => {
        const names = [...(used.get(path) ?? [])]
        return { loader: 'js', contents: STARTED_WITH.has(path) ? moduleOf(path, names) : lateModule(path, names) }
      })
    },
  }
}

/** `import one, { two, three as four } from "node:path";` */
const IMPORT = /^import (?:(\w+)(?:, )?)?(?:\{([^}]*)\})? ?from "([^"]*)";$/gm

/** Which names the program imports from each of Node's modules: an ES module says so in its head. */
async function namesUsed(options: BuildOptions): Promise<Map<string, Set<string>>> {
  const everything = { treeShaking: false, ignoreAnnotations: true, minifyWhitespace: false }
  const { outputFiles } = await build({ ...options, ...everything, format: 'esm', write: false })
  const used = new Map<string, Set<string>>()
  for (const { text } of outputFiles ?? []) {
    for (const [, byDefault, named = '', path = ''] of text.matchAll(IMPORT)) {
      const id = path.replace(/^(?!node:)/, 'node:')
      const names = used.get(id) ?? new Set()
      used.set(id, names)
      if (byDefault !== undefined) names.add('default')
      for (const [, name = ''] of named.matchAll(/(\w+)(?: as \w+)?/g)) names.add(name)
    }
  }
  return used
}

function builtin(path: string): string {
  // Not `require`, which looks for hooks and for files first.
  return `process.getBuiltinModule(${JSON.stringify(path)})`
}

function moduleOf(path: string, names: readonly string[]): string {
  const lines = names.map((name) => (name === 'default' ? 'export default own' : `export const ${name} = own.${name}`))
  return `const own = ${builtin(path)}\n${lines.join('\n')}`
}

function lateModule(path: string, names: readonly string[]): string {
  const all = names.includes('default') ? Object.keys(process.getBuiltinModule(path) ?? {}) : names
  return `module.exports = {\n${all.map((name) => `get ${name}() { return ${builtin(path)}.${name} }`).join(',\n')}\n}`
}

/** These packages are part of the bundle: each file that Node looks for on the disk is half a millisecond. */
export function inlined(names: readonly string[], root: string): Plugin {
  return {
    name: 'inlined',
    setup: (build) => {
      build.onResolve({ filter: new RegExp(`^(?:${names.join('|')})$`) }, ({ path }) => {
        const folder = join(root, 'node_modules', path)
        const { main } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { main: string }
        return { path: join(folder, main) }
      })
    },
  }
}

/**
 * koffi looks through files of Node and of its own before it loads its addon. We know which one it is; where it is not, as on
 * musl, koffi finds its own.
 */
export function bareKoffi(root: string): Plugin {
  const { version } = JSON.parse(readFileSync(join(root, 'node_modules/koffi/package.json'), 'utf8')) as {
    version: string
  }
  return {
    name: 'bare-koffi',
    setup: (build) => {
      build.onResolve({ filter: /^koffi$/ }, ({ path, namespace }) =>
        namespace === 'koffi' ? { path, external: true } : { path, namespace: 'koffi' },
      )
      build.onLoad({ filter: /^/, namespace: 'koffi' }, () => ({ loader: 'js', contents: koffiLoader(version) }))
    },
  }
}

/** Our packages lie below the folder above the bundle, or beside it. */
function koffiLoader(version: string): string {
  return `
    const load = () => {
      for (const modules of ['/../node_modules', '/../..']) {
        const addon = { exports: {} }
        try {
          process.dlopen(addon, __dirname + modules + '/@koromix/koffi-linux-' + process.arch + '/linux_' + process.arch + '/koffi.node')
          if (addon.exports.version === ${JSON.stringify(version)}) return addon.exports
        } catch {}
      }
      return require('koffi')
    }
    export default load()`
}
