import { closeFd } from '../system/index.ts'

/** A folder's descriptor, kept while files in it are to be read. */
export class OpenFolder {
  readonly fd: number
  #users = 1

  constructor(fd: number) {
    this.fd = fd
  }

  use(): void {
    this.#users += 1
  }

  /** The last one closes it. */
  release(): void {
    this.#users -= 1
    if (this.#users === 0) closeFd(this.fd)
  }
}
