import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { FlistError } from '../base/index.ts'
import { put, type SetupFile, standingOf, take } from './setup-files.ts'
import { unitText } from './unit.ts'

export interface SetupRequest {
  /** Stands before every path: for tests and for making packages. */
  readonly prefix: string | undefined
  /** The links g8ufs and rfs as well. */
  readonly zeroOs: boolean
  readonly remove: boolean
}

/** What was done about one path. */
export interface SetupStep {
  readonly path: string
  /** - `made`, `replaced` (an older one of ours), `kept` (right already), `removed`. - `left`, `skipped`: nothing, `why` says the reason. */
  readonly done: 'made' | 'replaced' | 'kept' | 'removed' | 'left' | 'skipped'
  readonly why?: string
}

/** Where things are put. */
export interface SetupPlaces {
  /** Before every path; '' for the running system. */
  readonly root: string
  readonly share: string
  readonly etc: string
  readonly units: string
  readonly sbin: string
}

/** The program that is set up. */
export interface SetupProgram {
  /** Its folder bin, as it will be when it runs. */
  readonly bin: string
  /** The launcher. */
  readonly launcher: string
  /** The man pages, if they are there. */
  readonly manDir: string
  /** A package manager has put all of it in place; only the links for Zero-OS are ours to make. */
  readonly packaged: boolean
  /** What `flistfs completion SHELL` prints. */
  completion(shell: string): string | undefined
}

/** By shell: below which place, and where there. Without XDG_DATA_DIRS fish looks for nothing in /usr/local/share. */
const COMPLETIONS = {
  bash: ['share', 'bash-completion/completions/flistfs'],
  zsh: ['share', 'zsh/site-functions/_flistfs'],
  fish: ['etc', 'fish/completions/flistfs.fish'],
} as const
/** Of a machine. */
export const PLACES = {
  share: '/usr/local/share',
  etc: '/etc',
  units: '/usr/local/lib/systemd/system',
  sbin: '/sbin',
} as const

/** Links by name, and the program each is to. mount(8) looks for the second where a line says what mountinfo says. */
export const HELPERS = [
  ['mount.flistfs', 'mount.flistfs'],
  ['mount.fuse.flistfs', 'mount.flistfs'],
] as const
const ZERO_OS = [
  ['g8ufs', 'g8ufs'],
  ['rfs', 'rfs'],
] as const
/** Milliseconds. */
const COMPLETION_MS = 20_000

/**
 * Puts the helper of mount(8), completions, man pages and the unit where the system looks for them, or takes them away again.
 * Looks at all of them before it touches one: another program's file is never replaced. Throws FLIST_SYSTEM, FLIST_NOT_PERMITTED.
 */
export function setup(request: SetupRequest, self: readonly string[]): SetupStep[] {
  const root = request.prefix === undefined ? '' : resolve(request.prefix)
  const places = { root, ...PLACES }
  const program = thisProgram(self)
  const { files, skipped } = setupFiles(places, program, request.zeroOs || request.remove)
  if (request.remove) return removeFiles(program.packaged ? files : [...files, ...formerPages(places, files)])
  const standings = files.map((file) => ({ file, standing: standingOf(file) }))
  for (const { file, standing } of standings) {
    if (standing === 'foreign') throw inTheWay(file.path, 'it belongs to another program')
    if (standing === 'changed') throw inTheWay(file.path, 'it was changed since flistfs made it')
  }
  // All users are to read it, whatever root keeps to himself.
  const umask = process.umask(0o022)
  try {
    const steps = standings.map(({ file, standing }): SetupStep => {
      if (standing === 'same') return { path: file.path, done: 'kept' }
      put(file)
      return { path: file.path, done: standing === 'none' ? 'made' : 'replaced' }
    })
    return [...steps, ...skipped]
  } finally {
    process.umask(umask)
  }
}

function inTheWay(path: string, why: string): FlistError {
  return new FlistError('FLIST_SYSTEM', `Cannot put our own file at "${path}": ${why}`, {
    hint: `Nothing was changed. Move it away and run this again: mv ${path} ${path}.old`,
  })
}

/** All that setup puts somewhere, and what it cannot. Texts for man and completion are asked of the program. */
export function setupFiles(
  { root, share, etc, units, sbin }: SetupPlaces,
  program: SetupProgram,
  zeroOs: boolean,
): { files: SetupFile[]; skipped: SetupStep[] } {
  const links = [...(program.packaged ? [] : HELPERS), ...(zeroOs ? ZERO_OS : [])]
  const files: SetupFile[] = links.map(([name, to]) => ({ path: join(root, sbin, name), link: join(program.bin, to) }))
  if (program.packaged) {
    const path = join(root, sbin, 'mount.flistfs')
    return {
      files,
      skipped: [{ path, done: 'skipped', why: 'the package of this system has put all but links for Zero-OS' }],
    }
  }
  const skipped: SetupStep[] = []
  files.push({ path: join(root, units, 'flistfs@.service'), text: unitText(program.launcher), comment: '#' })
  for (const [shell, [place, name]] of Object.entries(COMPLETIONS)) {
    const path = join(root, { share, etc }[place], name)
    const text = program.completion(shell)
    if (text === undefined) skipped.push({ path, done: 'skipped', why: `this flistfs has no completion for ${shell}` })
    else files.push({ path, text, comment: '#' })
  }
  const pages = existsSync(program.manDir) ? readdirSync(program.manDir).toSorted() : []
  if (pages.length === 0) {
    skipped.push({ path: join(root, share, 'man'), done: 'skipped', why: 'this flistfs came without man pages' })
  }
  for (const page of pages) {
    const path = join(root, share, 'man', `man${extname(page).slice(1)}`, page)
    files.push({ path, text: readFileSync(join(program.manDir, page), 'utf8'), comment: '.\\"' })
  }
  return { files, skipped }
}

/** Pages that another version put there. */
function formerPages({ root, share }: SetupPlaces, files: readonly SetupFile[]): SetupFile[] {
  const known = new Set(files.map(({ path }) => path))
  return ['1', '5', '8'].flatMap((section) => {
    const dir = join(root, share, 'man', `man${section}`)
    const names = existsSync(dir) ? readdirSync(dir).filter((name) => /^(?:mount\.)?flistfs\b/.test(name)) : []
    const paths = names.map((name) => join(dir, name)).filter((path) => !known.has(path))
    return paths.map((path) => ({ path, text: '', comment: '.\\"' }))
  })
}

/** Takes away what a setup put, and nothing else. */
function removeFiles(files: readonly SetupFile[]): SetupStep[] {
  const steps: SetupStep[] = []
  for (const file of files) {
    const standing = standingOf(file)
    if (standing === 'foreign') steps.push({ path: file.path, done: 'left', why: 'it belongs to another program' })
    if (standing === 'changed')
      steps.push({ path: file.path, done: 'left', why: 'it was changed since flistfs made it' })
    if (standing !== 'same' && standing !== 'ours') continue
    take(file)
    steps.push({ path: file.path, done: 'removed' })
  }
  return steps
}

/** `self`: the words that start this very program. */
function thisProgram(self: readonly string[]): SetupProgram {
  const here = dirname(realpathSync(self.at(-1) ?? ''))
  const package_ = dirname(here)
  const bin = basename(here) === 'dist' ? join(package_, 'bin') : here
  return {
    bin,
    launcher: join(bin, 'flistfs'),
    manDir: join(package_, 'dist/man'),
    packaged: existsSync(join(package_, 'PACKAGED')),
    completion(shell) {
      const [command = '', ...words] = self
      try {
        return execFileSync(command, [...words, 'completion', shell], {
          encoding: 'utf8',
          timeout: COMPLETION_MS,
          stdio: ['ignore', 'pipe', 'ignore'],
        })
      } catch {
        return undefined
      }
    },
  }
}
