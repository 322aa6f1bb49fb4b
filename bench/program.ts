import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { shell } from './shell.ts'

const PROJECT = resolve(import.meta.dirname, '..')

/** Runs a script by the Node.js that the program runs on. */
export const NODE = `sh ${join(PROJECT, 'bin/node')}`

/** Builds the program and lays it out in `folder` as it is installed: the source takes longer to load. Returns its path. */
export function installProgram(folder: string): string {
  shell(`${NODE} ${join(PROJECT, 'build.ts')}`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'bin'), { recursive: true })
  for (const part of ['bin/flistfs', 'bin/node', 'bin/supervise', 'dist', 'package.json']) {
    cpSync(join(PROJECT, part), join(folder, part), { recursive: true })
  }
  symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'))
  return join(folder, 'bin/flistfs')
}
