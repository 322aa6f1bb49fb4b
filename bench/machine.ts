import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, release, totalmem } from 'node:os'
import { PEER_NAMES } from './peers.ts'
import { which } from './shell.ts'

/** The machine, in one line for each thing that numbers depend on. */
export function machineLines(work: string, absent: Readonly<Record<string, string>>): string[] {
  const model = /^model name\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown'
  const disk = execFileSync('df', ['--output=fstype,size', '-h', work], { encoding: 'utf8' }).trim().split('\n').at(-1)
  return [
    `processor: ${model}, ${availableParallelism()} cores`,
    `memory: ${Math.round(totalmem() / 2 ** 30)} GiB`,
    `kernel: Linux ${release()}`,
    `disk of the trees and of the cache: ${disk?.trim().replace(/\s+/, ', ')}`,
    `Node.js: ${process.version}`,
    ...PEER_NAMES.map((name) =>
      absent[name] === undefined ? `${name}: ${versionOf(name)}` : `absent: ${name} (${absent[name]})`,
    ),
    ...['mkfs.erofs', 'fio'].flatMap((name) => (which(name) === undefined ? [`absent: ${name}`] : [])),
  ]
}

/** The first line that has a number in it. */
function versionOf(program: string): string {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 20_000 })
  return (
    stdout
      ?.split('\n')
      .find((line) => /\d/.test(line))
      ?.trim() ?? 'of unknown version'
  )
}
