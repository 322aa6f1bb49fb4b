import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { mount, MS } from '../../lib/system/index.ts'
import { INIT_FLAG, INIT_OUT, INTERRUPT_IN, IN_HEADER, OPCODE, OUT_HEADER } from '../../lib/wire/index.ts'
import { FrameDriver, type Reply } from '../kernel/frame-driver.ts'

/** How a mount is made and answered, so that the kernel has a reason for each kind of request. */
export interface CaptureMode {
  /** For `mount(2)`: `fuse`, or `fuseblk` with a block device. */
  readonly type: string
  readonly source: string
  readonly readOnly: boolean
  readonly permissions: boolean
  /** OPEN and OPENDIR succeed, folders are read by READDIR. */
  readonly opens: boolean
  /** Node id of a file whose READ has no answer until it is interrupted. */
  readonly stalledNode: string
}

const NO_REPLY = Symbol('no reply')
const POSIX_LOCKS = 1 << 1

/** `capture-server.ts ARCHIVE STORE DIRECTORY MODE`: prints each request as a line of hex, and answers it. */
class CaptureServer {
  readonly #fd: number
  readonly #driver: FrameDriver
  readonly #mode: CaptureMode

  constructor(fd: number, driver: FrameDriver, mode: CaptureMode) {
    this.#fd = fd
    this.#driver = driver
    this.#mode = mode
  }

  run(): void {
    const buffer = Buffer.alloc(2 ** 20 + 8192)
    for (;;) {
      let length: number
      try {
        length = readSync(this.#fd, buffer)
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code === 'EINTR' || code === 'ENOENT' || code === 'EAGAIN') continue
        return
      }
      const frame = Buffer.from(buffer.subarray(0, length))
      writeSync(1, `${frame.toString('hex')}\n`)
      const reply = this.#answer(frame)
      if (reply !== NO_REPLY && reply !== undefined) this.#write(frame.readBigUInt64LE(IN_HEADER.unique), reply)
    }
  }

  #answer(frame: Buffer): Reply | undefined | typeof NO_REPLY {
    const opcode = frame.readUInt32LE(IN_HEADER.opcode)
    const node = frame.readBigUInt64LE(IN_HEADER.nodeid)
    if (opcode === OPCODE.read && node === BigInt(this.#mode.stalledNode)) return NO_REPLY
    if (opcode === OPCODE.interrupt) {
      const unique = frame.readBigUInt64LE(IN_HEADER.size + INTERRUPT_IN.unique)
      this.#write(unique, { errno: 4, body: Buffer.alloc(0) })
      return NO_REPLY
    }
    const { opens } = this.#mode
    if (opens && (opcode === OPCODE.open || opcode === OPCODE.opendir)) return { errno: 0, body: Buffer.alloc(16) }
    const reply = this.#driver.send(frame)
    if (opens && opcode === OPCODE.init && reply !== undefined) {
      const flags = reply.body.readUInt32LE(INIT_OUT.flags) & ~INIT_FLAG.doReaddirplus
      reply.body.writeUInt32LE(flags | POSIX_LOCKS, INIT_OUT.flags)
      // ALLOW_IDMAP without default_permissions ends the connection.
      reply.body.writeUInt32LE(0, INIT_OUT.flags2)
    }
    return reply
  }

  #write(unique: bigint, { errno, body }: Reply): void {
    const out = Buffer.alloc(OUT_HEADER.size + body.length)
    out.writeUInt32LE(out.length, OUT_HEADER.len)
    out.writeInt32LE(-errno, OUT_HEADER.error)
    out.writeBigUInt64LE(unique, OUT_HEADER.unique)
    body.copy(out, OUT_HEADER.size)
    try {
      writeSync(this.#fd, out)
    } catch {
      // Who asked is gone.
    }
  }
}

const [archivePath = '', storeDir = '', directory = '', words = ''] = process.argv.slice(2)
const mode = JSON.parse(words) as CaptureMode
const driver = await FrameDriver.open({ archivePath, storeDir, entries: [] })
const fd = openSync('/dev/fuse', constants.O_RDWR)
const options = [`fd=${fd}`, 'rootmode=40000', 'user_id=0', 'group_id=0', 'allow_other']
if (mode.permissions) options.push('default_permissions')
const flags = mode.readOnly ? MS.RDONLY : 0
mount(mode.source, directory, mode.type, flags, options.join(','))
new CaptureServer(fd, driver, mode).run()
closeSync(fd)
driver.close()
