import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Image } from './image.ts'

/** Milliseconds. Without KVM a machine is slow, and the one it runs on may be busy. */
const BOOT_MS = 1_200_000
const COMMAND_MS = 300_000
const START_MS = 120_000

export interface Said {
  readonly code: number
  readonly output: string
}

/** Undefined: nobody listens there yet; the socket has its name before. */
async function connected(path: string): Promise<Socket | undefined> {
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    return socket
  } catch (error) {
    if (/ENOENT|ECONNREFUSED/.test(String(error))) return undefined
    throw error
  }
}

/**
 * A machine under QEMU without KVM. Its first serial line is a log (`console.log` in `dir`), at its second a shell of root
 * waits for commands; what was asked and said is kept in `transcript.txt`.
 */
export class Guest {
  readonly #dir: string
  readonly #qemu: ChildProcess
  #socket: Socket | undefined
  #heard = ''
  #count = 0

  constructor(image: Image, dir: string) {
    this.#dir = dir
    const words = [
      ['-accel', 'tcg,thread=multi', '-smp', '2', '-m', '1024', '-nodefaults', '-display', 'none'],
      ['-kernel', image.kernel, '-initrd', image.initrd],
      // "quiet" leaves the console to what systemd says.
      ['-append', 'console=ttyS0 root=/dev/vda rw quiet mitigations=off systemd.show_status=1'],
      ['-drive', `file=${image.disk},format=raw,if=virtio,cache=unsafe`],
      ['-serial', `file:${join(dir, 'console.log')}`],
      ['-serial', `unix:${join(dir, 'shell')},server=on,wait=off`],
    ].flat()
    // It ends with us, whatever ends us.
    this.#qemu = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...words], {
      stdio: ['ignore', 'inherit', 'inherit'],
    })
  }

  /** Waits until the machine has booted, for the first time or again. */
  async booted(): Promise<void> {
    await this.#connect()
    await this.#until(/SHELL-READY\r?\n/, BOOT_MS, 'boot')
  }

  /** What a command of the shell prints, and how it ends. Throws when it takes too long. */
  async run(command: string, timeoutMs = COMMAND_MS): Promise<Said> {
    this.#count += 1
    const mark = `END-${this.#count}-`
    this.#heard = ''
    const socket = await this.#connect()
    socket.write(`( ${command}\n) </dev/null 2>&1; echo "${mark}$?-"\n`)
    const found = await this.#until(new RegExp(`^([^]*)${mark}(\\d+)-\\r?\\n`), timeoutMs, command)
    const said = { code: Number(found[2]), output: found[1] ?? '' }
    appendFileSync(join(this.#dir, 'transcript.txt'), `# ${command}\n${said.output}[${said.code}]\n\n`)
    return said
  }

  /** Like `run`, and throws unless it ends with 0. */
  async ok(command: string, timeoutMs = COMMAND_MS): Promise<string> {
    const { code, output } = await this.run(command, timeoutMs)
    if (code === 0) return output
    throw new Error(`${command} ended with ${code}: ${output}`)
  }

  /** Until a command ends with 0. */
  async wait(command: string, timeoutMs = COMMAND_MS): Promise<void> {
    const end = performance.now() + timeoutMs
    while ((await this.run(command)).code !== 0) {
      if (performance.now() > end) throw new Error(`still not after ${timeoutMs} ms: ${command}`)
      await sleep(1000)
    }
  }

  /** Starts the machine again by a command that ends this one, and waits until it has booted. */
  async again(command: string): Promise<void> {
    this.#heard = ''
    const socket = await this.#connect()
    socket.write(`${command}\n`)
    await this.booted()
  }

  /** Switches it off as its owner would: everything must let go in time. */
  async off(): Promise<void> {
    const socket = await this.#connect()
    const ended = once(this.#qemu, 'exit', { signal: AbortSignal.timeout(BOOT_MS) })
    socket.write('systemctl poweroff\n')
    await ended
  }

  async close(): Promise<void> {
    this.#socket?.destroy()
    if (this.#qemu.exitCode !== null || this.#qemu.signalCode !== null) return
    const ended = once(this.#qemu, 'exit')
    this.#qemu.kill('SIGKILL')
    await ended
  }

  async #connect(): Promise<Socket> {
    if (this.#socket !== undefined) return this.#socket
    const path = join(this.#dir, 'shell')
    const end = performance.now() + START_MS
    let socket = await connected(path)
    while (socket === undefined) {
      if (performance.now() > end || this.#qemu.exitCode !== null) throw new Error('QEMU did not start')
      await sleep(100)
      socket = await connected(path)
    }
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => (this.#heard += text))
    this.#socket = socket
    return socket
  }

  async #until(pattern: RegExp, timeoutMs: number, what: string): Promise<RegExpExecArray> {
    const end = performance.now() + timeoutMs
    for (;;) {
      const found = pattern.exec(this.#heard)
      if (found !== null) return found
      if (this.#qemu.exitCode !== null) throw new Error(`the machine ended during: ${what}`)
      if (performance.now() > end) throw new Error(`not done after ${timeoutMs} ms: ${what}\nheard: ${this.#heard}`)
      await sleep(100)
    }
  }
}
