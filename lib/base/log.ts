import { writeSync } from 'node:fs'

export const LOG_LEVELS = { error: 0, warn: 1, info: 2, debug: 3 } as const
export type LogLevel = keyof typeof LOG_LEVELS

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>

/** Writes one line of `key=value` per event, in one write, so that several threads and processes may share the file. */
export class Log {
  readonly #fd: number
  level: LogLevel

  constructor(fd: number, level: LogLevel = 'info') {
    this.#fd = fd
    this.level = level
  }

  error(message: string, fields?: LogFields): void {
    this.#write('error', message, fields)
  }

  warn(message: string, fields?: LogFields): void {
    this.#write('warn', message, fields)
  }

  info(message: string, fields?: LogFields): void {
    this.#write('info', message, fields)
  }

  debug(message: string, fields?: LogFields): void {
    this.#write('debug', message, fields)
  }

  #write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (LOG_LEVELS[level] > LOG_LEVELS[this.level]) return
    let line = `${new Date().toISOString()} ${level} ${message}`
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) line += ` ${key}=${typeof value === 'string' ? JSON.stringify(value) : value}`
    }
    try {
      writeSync(this.#fd, `${line}\n`)
    } catch {
      // A full disk or a closed pipe must not end the mount.
    }
  }
}

export const SILENT = new Log(2, 'error')
