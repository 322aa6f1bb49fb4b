import type { TreeBuilder } from './tree-builder.ts'

/** Sorts entries by the bytes of their names (memcmp, the shorter first), in place. */
export function sortByName(tree: TreeBuilder, entries: Uint32Array): void {
  const names = tree.names.bytes
  const { nameAt, nameBytes } = tree.columns
  const compare = (a: number, b: number): number => {
    const atA = nameAt[a] ?? 0
    const atB = nameAt[b] ?? 0
    const bytesA = nameBytes[a] ?? 0
    const bytesB = nameBytes[b] ?? 0
    const shared = bytesA < bytesB ? bytesA : bytesB
    // Names are short and differ early: a loop beats a native call.
    for (let at = 0; at < shared; at += 1) {
      const difference = (names[atA + at] ?? 0) - (names[atB + at] ?? 0)
      if (difference !== 0) return difference
    }
    return bytesA - bytesB
  }
  // Many writers sort already.
  for (let at = 1; at < entries.length; at += 1) {
    if (compare(entries[at - 1] ?? 0, entries[at] ?? 0) > 0) {
      entries.sort(compare)
      return
    }
  }
}

export function sameName(tree: TreeBuilder, a: number, b: number): boolean {
  const { nameAt, nameBytes } = tree.columns
  const bytes = nameBytes[a] ?? 0
  if (bytes !== nameBytes[b]) return false
  const names = tree.names.bytes
  const atA = nameAt[a] ?? 0
  const atB = nameAt[b] ?? 0
  for (let at = 0; at < bytes; at += 1) if (names[atA + at] !== names[atB + at]) return false
  return true
}
