import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { rmSync } from 'node:fs'
import { describeError, FlistError } from '../base/index.ts'
import { joinSocketPath, Lines, returnDevice, takeDevice, withSocketPath } from '../kernel/index.ts'
import type { MountPlace, MountPlan } from './mount-plan.ts'
import type { ServedMount } from './served-mount.ts'
import type { Server } from './server.ts'

/** Milliseconds whoever mounts may take for a step: an overlay looks at its folders. */
const STEP_MS = 60_000

/** What is said to a server by whoever wants it to take a mount; each is answered by `{}`, `{pid}`, `{refused}` or `{error}`. */
export type JoinRequest =
  | { readonly op: 'join'; readonly plan: MountPlan }
  | { readonly op: 'begin' }
  | { readonly op: 'settle'; readonly place: MountPlace }

/** Where other mounts come into a server: at a socket named after the circumstances that they share. */
export class JoinDoor {
  readonly #server: Server
  readonly #net: NetServer
  readonly #guests = new Set<Socket>()

  private constructor(server: Server) {
    this.#server = server
    this.#net = createServer((socket) => {
      this.#guests.add(socket)
      socket.once('close', () => this.#guests.delete(socket))
      void this.#admit(new Lines(socket))
    })
  }

  /** The server must have the key. Throws FLIST_SYSTEM. */
  static async open(server: Server, key: string): Promise<JoinDoor> {
    const door = new JoinDoor(server)
    const path = joinSocketPath(key)
    // Left by a server that was killed; whoever has the key may.
    rmSync(path, { force: true })
    try {
      await new Promise<void>((resolve, reject) => {
        door.#net.once('error', reject)
        withSocketPath(path, (short) => door.#net.listen(short, resolve))
      })
      return door
    } catch (error) {
      throw new FlistError('FLIST_SYSTEM', `Cannot listen on "${path}": ${describeError(error)}`, { cause: error })
    }
  }

  /** Nobody comes in any more. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#net.close(() => resolve()))
    for (const guest of this.#guests) guest.destroy()
    return closed
  }

  async #admit(lines: Lines): Promise<void> {
    if (!this.#server.await()) return lines.close()
    let mount: ServedMount | undefined
    try {
      const first = (await lines.receive(STEP_MS, lines.left)) as JoinRequest | undefined
      if (first?.op !== 'join') return
      mount = this.#prepare(first.plan, lines)
      if (mount !== undefined) await this.#bringIn(mount, lines)
    } catch (error) {
      const known = error instanceof FlistError ? error : new FlistError('FLIST_SYSTEM', describeError(error))
      lines.send({ error: known })
      // Whoever mounts takes away what he mounted. Should he have died it is nobody's, and what was begun goes by its holder.
      if (mount !== undefined && mount.place === undefined) await this.#server.end(mount)
    } finally {
      lines.close()
      this.#server.arrived()
    }
  }

  #prepare(plan: MountPlan, lines: Lines): ServedMount | undefined {
    const held = plan.holder === undefined ? undefined : takeDevice(plan.holder)
    if (held === undefined) {
      lines.send({ refused: 'its device cannot be taken' })
      return undefined
    }
    let mount: ServedMount
    try {
      mount = this.#server.prepare(plan, held)
    } catch (error) {
      returnDevice(held)
      throw error
    }
    lines.send({ pid: process.pid })
    return mount
  }

  async #bringIn(mount: ServedMount, lines: Lines): Promise<void> {
    const second = (await lines.receive(STEP_MS, lines.left)) as JoinRequest | undefined
    if (second?.op !== 'begin') throw new FlistError('FLIST_INTERRUPTED', 'Cannot finish: interrupted')
    await this.#server.begin(mount, lines.left)
    lines.send({})
    const third = (await lines.receive(STEP_MS, lines.left)) as JoinRequest | undefined
    if (third?.op !== 'settle') throw new FlistError('FLIST_INTERRUPTED', 'Cannot finish: interrupted')
    this.#server.settle(mount, third.place)
    lines.send({})
  }
}
