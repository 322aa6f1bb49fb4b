import { Log, type LogFields } from '../base/index.ts'

/** What is done for several mounts is said in the logs of all of them. */
export class SharedLog extends Log {
  readonly logs = new Set<Log>()

  constructor() {
    super(-1)
  }

  override error(message: string, fields?: LogFields): void {
    for (const log of this.logs) log.error(message, fields)
  }

  override warn(message: string, fields?: LogFields): void {
    for (const log of this.logs) log.warn(message, fields)
  }

  override info(message: string, fields?: LogFields): void {
    for (const log of this.logs) log.info(message, fields)
  }

  override debug(message: string, fields?: LogFields): void {
    for (const log of this.logs) log.debug(message, fields)
  }
}
