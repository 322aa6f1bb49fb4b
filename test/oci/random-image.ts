import { type ImageSpec, type Item, tarOf } from './make-image.ts'

/** Numbers from 0 up to 1, the same for the same seed (Park and Miller). */
export function randomFrom(seed: number): () => number {
  let state = (seed % 2_147_483_646) + 1
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}

/** Layers over few names, so that they meet: folders, files, links of both kinds, whiteouts, opaque folders. */
export function randomImage(seed: number): ImageSpec {
  const random = randomFrom(seed)
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  const files = ['a']
  const folders = ['']
  // Mostly below what is a folder: an image that both refuse tells nothing.
  const path = (): string => (random() < 0.93 ? `${pick(folders)}${pick(['a', 'b', 'c'])}` : anyPath())
  const anyPath = (): string =>
    Array.from({ length: 1 + Math.floor(random() * 3) }, () => pick(['a', 'b', 'c'])).join('/')
  const forget = (name: string): void => {
    for (const list of [files, folders]) {
      const kept = list.filter((other, at) => at === 0 || (other !== name && !other.startsWith(`${name}/`)))
      list.splice(0, list.length, ...kept)
    }
  }
  const whiteout = (): Item => {
    const parts = path().split('/')
    const last = parts.pop() ?? 'a'
    if (random() < 0.5) forget([...parts, last].join('/'))
    return { name: [...parts, random() < 0.3 ? '.wh..wh..opq' : `.wh.${last}`].join('/') }
  }
  const item = (isFirst: boolean): Item => {
    const name = path()
    forget(name)
    const what = random()
    const common = { mode: 0o600 + Math.floor(random() * 0o200), uid: Math.floor(random() * 3) }
    if (what < 0.35) files.push(name)
    else if (what < 0.6) folders.push(`${name}/`)
    if (what < 0.35) return { ...common, name, data: `${seed}.${random()}`.slice(0, Math.floor(random() * 12)) }
    if (what < 0.6) return { ...common, name, type: 'directory', mode: 0o755 }
    if (what < 0.68)
      return { name, type: 'symlink', target: random() < 0.5 ? `/${path()}` : pick(['a', 'b', '../b', './c/a', 'x']) }
    if (what < 0.76) return { ...common, name, type: 'hardlink', target: random() < 0.95 ? pick(files) : path() }
    if (what < 0.8 || isFirst) return { ...common, name, type: 'fifo' }
    return whiteout()
  }
  const layers = Array.from({ length: 1 + Math.floor(random() * 4) }, (_, index) => {
    const items = Array.from({ length: 1 + Math.floor(random() * 12) }, () => item(index === 0))
    return { tar: tarOf(items), packing: 'none' as const }
  })
  return { layers }
}
