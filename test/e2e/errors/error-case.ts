import type { Test } from 'tap'
import type { Done, Lab } from '../mounted.ts'

/** In each password that a case uses: nothing printed may have it. */
export const SECRET = 'hunter2-s3cr3t'

/** Where a case works: a lab, and servers that end with the test. */
export interface Place {
  readonly lab: Lab
  readonly t: Test
}

/** One way in which an operator meets an error. */
export interface ErrorCase {
  readonly code: string
  /** What the operator did. */
  readonly when: string
  /** Runs the program with --json. */
  readonly provoke: (place: Place) => Promise<Done>
  /** What the message must name: the thing as the operator knows it, and what is wrong with it. */
  readonly says: RegExp
  /** What the hint must tell him to do. Without one: nothing can be done, as after Ctrl-C. */
  readonly hint?: RegExp
  readonly skip?: string | false
}

/** The program with --json. */
export function flistfs(
  { lab }: Place,
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Done> {
  return lab.flistfs([...words, '--json'], { env })
}

/** A name in the lab's folder that no other case has. */
export function fresh({ lab }: Place, name: string): string {
  names += 1
  return lab.path(`${names}-${name}`)
}

let names = 0
