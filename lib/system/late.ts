import koffi from 'koffi'

export const libc = koffi.load(null)

type Call = (...words: Parameters<ReturnType<typeof libc.func>>) => ReturnType<ReturnType<typeof libc.func>>

/**
 * A C function that is declared when it is first called: of the sixty that we know, a mount calls ten, and a declaration takes
 * its start 30 us. For what is called on the hot path `libc.func` itself.
 */
export function late(declaration: string): Call {
  let call: Call | undefined
  return (...words) => (call ??= libc.func(declaration) as Call)(...words)
}
