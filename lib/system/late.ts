import koffi from 'koffi'

export const libc = koffi.load(null)

type Call = (...words: Parameters<ReturnType<typeof libc.func>>) => ReturnType<ReturnType<typeof libc.func>>

/**
 * A C function that is declared when it is first called: a declaration takes a start 30 us, and a mount calls three of these 38 before
 * its first answer (docs/decisions/166). For what is called on the hot path `libc.func` itself.
 */
export function late(declaration: string): Call {
  let call: Call | undefined
  return (...words) => (call ??= libc.func(declaration) as Call)(...words)
}
