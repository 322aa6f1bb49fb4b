import { closeFd } from '../system/index.ts'

/** A folder's descriptor, kept while files in it are to be read, or made. */
export class OpenFolder {
  readonly fd: number
  readonly #onLast: (() => void) | undefined
  #users = 1

  /** `onLast`: what is done before it is closed. */
  constructor(fd: number, onLast?: () => void) {
    this.fd = fd
    this.#onLast = onLast
  }

  use(): void {
    this.#users += 1
  }

  /** The last one closes it. */
  release(): void {
    this.#users -= 1
    if (this.#users > 0) return
    this.#onLast?.()
    closeFd(this.fd)
  }
}
