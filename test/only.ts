/** The one element of a list. `t.match` with a list asks for the elements that it names, and lets the rest be. */
export function only<T>(list: readonly T[]): T {
  const [first] = list
  if (list.length !== 1 || first === undefined) throw new Error(`not one but ${list.length}: ${JSON.stringify(list)}`)
  return first
}
