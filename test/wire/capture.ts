/**
 * Makes `fixtures/wire` anew: `sh bin/node test/wire/capture.ts`, as root, with python3. Mounts a small archive in a
 * child process several ways, gives the kernel a reason for each kind of request it can send, and keeps the first of each.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { IN_HEADER, OPCODE, opcodeInfo } from '../../lib/wire/index.ts'
import { Examiner } from '../kernel/served-mount.ts'
import type { SampleArchive } from '../vfs/sample-archive.ts'
import type { CaptureMode } from './capture-server.ts'
import { fieldsOf, shortened } from './fields.ts'
import { FIXTURES, writeHex } from './hex.ts'
import { wireArchive } from './wire-archive.ts'

const STALLED_NODE = '5'
const kernel = execFileSync('uname', ['-r'], { encoding: 'utf8' }).split('.').slice(0, 2).join('.')
const dir = mkdtempSync(join(tmpdir(), 'flistfs-capture-'))
const kept = new Map<string, Buffer>()

class Capture {
  readonly directory: string
  readonly examiner = new Examiner()
  readonly #server: ChildProcess
  readonly #frames: Buffer[] = []

  constructor(sample: SampleArchive, mode: CaptureMode) {
    this.directory = mkdtempSync(join(dir, 'mount-'))
    const program = join(import.meta.dirname, 'capture-server.ts')
    const words = [sample.archivePath, sample.storeDir, this.directory, JSON.stringify(mode)]
    this.#server = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 'pipe', 'inherit'] })
    if (this.#server.stdout === null) throw new Error('no output')
    createInterface(this.#server.stdout).on('line', (line) => this.#frames.push(Buffer.from(line, 'hex')))
  }

  path(name: string): Buffer {
    return Buffer.from(`${this.directory}/${name}`)
  }

  /** Asks the kernel for something; what comes of it does not matter here. */
  async provoke(act: string, name: string, ...words: unknown[]): Promise<void> {
    await this.examiner.ask(act, this.path(name), ...words).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'FAULT') throw error
    })
  }

  async until(opcode: number, node?: string): Promise<void> {
    for (let tries = 0; tries < 200; tries += 1) {
      if (this.#frames.some((frame) => is(frame, opcode, node))) return
      await sleep(25)
    }
    console.error(`no ${opcodeInfo(opcode)?.name ?? opcode} came`)
  }

  async close(): Promise<void> {
    const gone = once(this.#server, 'exit')
    const done = spawnSync('umount', [this.directory], { timeout: 120_000 })
    if (done.status !== 0) {
      spawnSync('umount', ['--lazy', this.directory], { timeout: 120_000 })
      this.#server.kill('SIGKILL')
    }
    await gone
    this.examiner.close()
    for (const frame of this.#frames) {
      const name = fixtureName(frame)
      if (name !== undefined && !kept.has(name)) kept.set(name, frame)
    }
  }
}

function is(frame: Buffer, opcode: number, node: string | undefined): boolean {
  if (frame.readUInt32LE(IN_HEADER.opcode) !== opcode) return false
  return node === undefined || frame.readBigUInt64LE(IN_HEADER.nodeid) === BigInt(node)
}

/** `lookup`, and `lookup-dot` for what only file handles ask. */
function fixtureName(frame: Buffer): string | undefined {
  const info = opcodeInfo(frame.readUInt32LE(IN_HEADER.opcode))
  if (info === undefined) return undefined
  const name = info.name.toLowerCase().replaceAll('_', '-')
  if (name !== 'lookup') return name
  const looked = frame.subarray(IN_HEADER.size).toString('latin1')
  return looked === '.\0' ? 'lookup-dot' : looked === '..\0' ? 'lookup-dot-dot' : name
}

async function asWeMount(sample: SampleArchive, mode: CaptureMode): Promise<void> {
  const capture = new Capture(sample, mode)
  await capture.until(OPCODE.init)
  await capture.provoke('lstat', 'file')
  await capture.provoke('getdents', 'dir', 4096)
  await capture.provoke('readlink', 'link')
  await capture.provoke('read', 'file', 0, 100, 0)
  await capture.provoke('statfs', '')
  await capture.provoke('listxattr', 'file')
  await capture.provoke('getxattr', 'file', Buffer.from('user.note').toString('hex'))
  await capture.provoke('ioctl', 'file', 0x5401)
  await capture.provoke('lseek', 'file', 5, 3)
  await capture.provoke('poll', 'file')
  await capture.provoke('fsync', 'file')
  await capture.provoke('fsync', 'dir')
  // Node asks for the time of birth, and so for STATX.
  lstatSync(capture.path('file'))
  await interruptRead(capture)
  for (const name of ['file', 'dir/long-name-of-27-characters']) {
    const [kind, data] = (await capture.examiner.ask('handle_of', capture.path(name))) as [number, string]
    await capture.examiner.ask('drop_caches', null)
    await capture.provoke('open_handle', '', kind, data)
  }
  await capture.until(OPCODE.lookup)
  for (let turn = 0; turn < 20; turn += 1) {
    await capture.provoke('lstat', turn % 2 === 0 ? 'dir/child' : 'file')
    if (turn % 2 === 0) await capture.provoke('getdents', 'dir', 4096)
    await capture.examiner.ask('drop_caches', null)
  }
  await capture.until(OPCODE.forget)
  await capture.until(OPCODE.batchForget)
  await capture.close()
}

/** A reader by O_DIRECT waits alone: killed, it makes the kernel send INTERRUPT. */
async function interruptRead(capture: Capture): Promise<void> {
  const reader = new Examiner()
  const waiting = reader.ask('read_direct', capture.path('stalled'), 0, 4096).catch(() => undefined)
  await capture.until(OPCODE.read, STALLED_NODE)
  reader.close()
  await capture.until(OPCODE.interrupt)
  await waiting
}

async function withOpens(sample: SampleArchive, mode: CaptureMode): Promise<void> {
  const capture = new Capture(sample, mode)
  await capture.until(OPCODE.init)
  await capture.provoke('access', 'file', 4)
  await capture.provoke('getdents', 'dir', 4096)
  await capture.provoke('read', 'file', 0, 100, 0)
  for (const command of ['getlk', 'setlk', 'setlkw']) await capture.provoke('lock', 'file', command)
  await capture.until(OPCODE.release)
  await capture.until(OPCODE.releasedir)
  await capture.close()
}

async function writing(sample: SampleArchive, mode: CaptureMode): Promise<void> {
  const capture = new Capture(sample, mode)
  await capture.until(OPCODE.init)
  for (const op of ['create', 'mkdir', 'mkfifo', 'symlink', 'tmpfile']) await capture.provoke('change', 'new', op)
  for (const op of [
    'chmod',
    'unlink',
    'rename',
    'rename2',
    'link',
    'setxattr',
    'removexattr',
    'fill',
    'fallocate',
    'copy',
  ]) {
    await capture.provoke('change', 'file', op)
  }
  await capture.provoke('change', 'dir', 'rmdir')
  await capture.close()
}

/** A file system on a block device is told before it goes, and asked where its blocks lie. */
async function onBlockDevice(sample: SampleArchive, mode: CaptureMode): Promise<void> {
  const image = join(dir, 'disk')
  writeFileSync(image, Buffer.alloc(1024 * 1024))
  const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim()
  try {
    const capture = new Capture(sample, { ...mode, type: 'fuseblk', source: device })
    await capture.until(OPCODE.init)
    await capture.provoke('ioctl', 'file', 1)
    await capture.close()
  } finally {
    spawnSync('losetup', ['--detach', device], { timeout: 120_000 })
  }
}

function save(): void {
  mkdirSync(FIXTURES, { recursive: true })
  for (const [name, frame] of [...kept].sort(([a], [b]) => a.localeCompare(b))) {
    const fields = fieldsOf(frame)
    writeHex(`${name}-7.45`, [`Captured on Linux ${kernel}`], fields)
    const cut = shortened(frame, fields)
    if (cut !== undefined) writeHex(`${name}-7.45.short`, [`Captured on Linux ${kernel}, then cut; len as it was`], cut)
  }
}

try {
  const sample = await wireArchive().write(dir)
  const mode: CaptureMode = {
    type: 'fuse.flistfs',
    source: 'capture',
    readOnly: true,
    permissions: true,
    opens: false,
    stalledNode: STALLED_NODE,
  }
  await asWeMount(sample, mode)
  await withOpens(sample, { ...mode, permissions: false, opens: true })
  await writing(sample, { ...mode, readOnly: false, opens: true })
  await onBlockDevice(sample, mode)
  save()
  console.log([...kept.keys()].sort().join(' '))
} finally {
  rmSync(dir, { recursive: true, force: true })
}
