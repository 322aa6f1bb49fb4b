import { fstatSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import {
  BugError,
  displayBytes,
  displayText,
  FlistError,
  systemCode,
  systemReason,
  wordBytes,
  wordOf,
} from '../lib/base/index.ts'

/**
 * Writes to stdout (1) or stderr (2) at once: no stream of Node's keeps the descriptor when a mount goes to the background.
 * False where nobody reads any more. Throws FLIST_SYSTEM where a result is lost: a full disk is no reader that left.
 */
export function write(fd: 1 | 2, text: string | Buffer): boolean {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      // A reader that is slow (a terminal or pipe set non-blocking) is waited for; one that left needs no more.
      if (fd === 1 && isLost(fd, systemCode(error))) throw lost(error)
      if (systemCode(error) !== 'EAGAIN') return false
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
  return true
}

function isLost(fd: number, code: string): boolean {
  // A terminal that is gone says EIO.
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code) || (code === 'EIO' && fstatSync(fd).isFile())
}

function lost(cause: unknown): FlistError {
  return new FlistError('FLIST_SYSTEM', `Cannot write the result to standard output: ${systemReason(cause)}`, {
    hint: 'Make room, or let the output go elsewhere',
    cause,
  })
}

/** Results go to stdout: one JSON value, or text for people. Warnings and errors go to stderr. What others wrote, say the tags of an image, may be in all. */
export class Output {
  json = false

  result(value: unknown, text: string): void {
    write(1, this.json ? `${jsonText(value)}\n` : displayText(text))
  }

  warn(message: string): void {
    const text = this.json ? jsonText({ warning: { message } }) : `flistfs: Warning: ${displayText(message)}`
    write(2, `${text}\n`)
  }

  /** Says what went wrong and gives the exit code. This is the one place that decides it. */
  fail(error: unknown): number {
    const known = asKnown(error)
    const { code, hint, exitCode: exit } = known
    const message = known.message.isWellFormed() ? known.message : displayText(known.message)
    if (this.json) write(2, `${jsonText({ error: { code, message, hint, exit } })}\n`)
    else write(2, displayText(`flistfs: ${message}\n${hint === undefined ? '' : `  hint: ${hint}\n`}`))
    if (error instanceof BugError && error.stack !== undefined) write(2, `${error.stack}\n`)
    return exit
  }
}

/** Without the control characters that JSON allows: DEL and C1. */
function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(/[\x7f-\x9f]/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`)
}

function asKnown(error: unknown): FlistError {
  if (error instanceof FlistError) return error
  if (error instanceof Error && error.name === 'AbortError') {
    return new FlistError('FLIST_INTERRUPTED', 'Cannot finish: interrupted', { cause: error })
  }
  const message = error instanceof Error ? error.message : String(error)
  return new FlistError('FLIST_SYSTEM', `Cannot go on: ${message}`, {
    cause: error,
    ...(error instanceof BugError ? { hint: 'This is a fault of flistfs: please report it with the lines below' } : {}),
  })
}

const PILE_BYTES = 64 * 1024

/** Long results, written in pieces of some size. Closed once nobody reads any more: then the work may end. */
export class Printer {
  closed = false
  readonly #isShown: boolean
  readonly #pile = Buffer.allocUnsafe(PILE_BYTES)
  #piled = 0

  /** `names`: of an archive, which a terminal must not obey. Whoever else reads them has the bytes. */
  constructor(what: 'names' | 'content') {
    this.#isShown = what === 'names' && isatty(1)
  }

  push(piece: Buffer): void {
    const bytes = this.#isShown ? shown(piece) : piece
    if (this.#piled + bytes.length > PILE_BYTES) this.flush()
    if (bytes.length > PILE_BYTES) this.closed ||= !write(1, bytes)
    else this.#piled += bytes.copy(this.#pile, this.#piled)
  }

  flush(): void {
    if (this.#piled > 0) this.closed ||= !write(1, this.#pile.subarray(0, this.#piled))
    this.#piled = 0
  }
}

/** As `displayText`, of bytes; a NUL shows nothing, and separates. */
function shown(piece: Buffer): Buffer {
  return Buffer.from(wordOf(piece).split('\0').map(displayText).join('\0'))
}

/** An array as one JSON value, written as its elements come. */
export class JsonArray {
  readonly #printer: Printer
  #opening = '['

  constructor(printer: Printer) {
    this.#printer = printer
  }

  push(value: unknown): void {
    this.#printer.push(Buffer.from(`${this.#opening}${jsonText(value)}`))
    this.#opening = ','
  }

  end(): void {
    this.#printer.push(Buffer.from(this.#opening === '[' ? '[]\n' : ']\n'))
    this.#printer.flush()
  }
}

/** Columns padded to the widest cell, two blanks between; the last one is not padded. A row is a line, whatever a name in it has. */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map((cell) => displayBytes(wordBytes(cell))))
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, at) => (widths[at] = Math.max(widths[at] ?? 0, cell.length)))
  const lines = rows.map((row) =>
    row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at] ?? 0))).join('  '),
  )
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}
