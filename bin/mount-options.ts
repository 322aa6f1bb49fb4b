import { Command, Option } from 'commander'
import { LOG_LEVELS, type LogLevel, parseDuration, parseSize } from '../lib/base/index.ts'
import { parseMetricsAddress } from '../lib/commands/metrics-address.ts'
import type { MountRequest } from '../lib/commands/mount.ts'
import { parseDigest } from './archive-options.ts'
import { collect } from './verb.ts'

/** The options of `mount` as commander hands them over. */
interface Words {
  readonly store?: string[]
  readonly cache?: string
  readonly cacheSize?: string
  readonly timeout?: string
  readonly onError: 'eio' | 'wait'
  readonly verify: 'once' | 'always'
  readonly passthrough?: true
  readonly driver: 'native' | 'fuse-native'
  readonly suid?: true
  readonly dev?: true
  readonly allowOther?: true
  readonly noexec?: true
  readonly nosymfollow?: true
  readonly defaultStore?: string[]
  readonly asZeroOs?: true
  readonly log?: string
  readonly logLevel?: LogLevel
  readonly trace?: string
  readonly metrics?: string
  readonly digest?: string
  readonly hub?: string
  readonly policy?: string
  readonly rw?: true
  readonly upper?: string
  readonly foreground?: true
  readonly ownProcess?: true
}

export function addMountOptions(command: Command): Command {
  return command
    .argument('<archive>', 'a path, a URL, or user/name.flist on a hub')
    .argument('<directory>', 'an existing folder')
    .option(
      '-s, --store <[xx-xx=]url>',
      'where blocks come from, instead of what the archive says (repeatable)',
      collect,
    )
    .option('--default-store <[xx-xx=]url>', 'the same for an archive that names no store (repeatable)', collect)
    .option('-c, --cache <dir>', 'folder of the cache, shared by all mounts')
    .option('--cache-size <size>', 'most the cache may hold, such as 20G')
    .option('--timeout <time>', 'until a read that no store serves fails: 30, 500ms, 2m')
    .addOption(
      new Option('--on-error <what>', 'when no store answers: fail the read, or wait until one does')
        .choices(['eio', 'wait'])
        .default('eio'),
    )
    .addOption(
      new Option('--verify <when>', 'check cached bytes once a boot, or at each read')
        .choices(['once', 'always'])
        .default('once'),
    )
    .option('--passthrough', 'let the kernel read large cached files by itself')
    .addOption(
      new Option('--driver <name>', 'what speaks to the kernel: our own, or libfuse 2 by the package fuse-native')
        .choices(['native', 'fuse-native'])
        .default('native'),
    )
    .option('--suid', 'honour setuid and setgid bits')
    .option('--dev', 'honour device nodes')
    .option('--noexec', 'run no programs from it')
    .option('--nosymfollow', 'follow no symbolic links on it; they are still seen')
    .addOption(new Option('--as-zero-os').hideHelp())
    .option('--allow-other', 'let other users in; root always does')
    .option('--log <file>', 'append messages to a file')
    .addOption(
      new Option('--log-level <level>', 'how much; info in a file, else warn').choices(Object.keys(LOG_LEVELS)),
    )
    .option('--trace <file>', 'print each request of the kernel and its reply into a file')
    .option('--metrics <address>', 'serve Prometheus metrics: unix:/path, host:port or [::1]:port')
    .option('--digest <sha256:hex>', 'refuse an archive that has another digest')
    .option('--hub <url>', 'the hub that user/name.flist is on')
    .option('--policy <file>', 'obey what this file says of archives, besides /etc/flistfs/policy.toml')
    .option('--rw', 'writable by copy-on-write; changes are thrown away at umount')
    .option('--upper <dir>', 'writable, with the changes kept in this folder')
    .option('--own-process', 'share no server with other mounts')
    .option('-f, --foreground', 'stay until interrupted')
    .option('-o, --options <list>', 'options as in fstab: name,name=value (repeatable)', collect)
}

/** Words, with what settings say in their place, to one record. Throws FLIST_USAGE. */
export function mountRequest(archive: string, directory: string, words: Words): MountRequest {
  const { cacheSize, timeout } = words
  return {
    archive,
    directory,
    stores: words.store ?? [],
    cacheDir: words.cache,
    cacheBytesMax: cacheSize === undefined ? undefined : parseSize(cacheSize),
    timeoutMs: timeout === undefined ? undefined : parseDuration(timeout, 'a time to wait'),
    onError: words.onError,
    verifyAlways: words.verify === 'always',
    passthrough: words.passthrough ?? false,
    driver: words.driver,
    suid: words.suid ?? false,
    dev: words.dev ?? false,
    allowOther: words.allowOther ?? false,
    noexec: words.noexec ?? false,
    nosymfollow: words.nosymfollow ?? false,
    defaultStores: words.defaultStore ?? [],
    asZeroOs: words.asZeroOs ?? false,
    ownProcess: words.ownProcess ?? false,
    logFile: words.log,
    logLevel: words.logLevel ?? (words.log === undefined ? 'warn' : 'info'),
    traceFile: words.trace,
    metrics: words.metrics === undefined ? undefined : checkAddress(words.metrics),
    digest: words.digest === undefined ? undefined : parseDigest(words.digest),
    hub: words.hub,
    policy: words.policy,
    rw: words.rw || words.upper !== undefined ? { upper: words.upper } : undefined,
  }
}

/** Said before anything is mounted. */
function checkAddress(text: string): string {
  parseMetricsAddress(text)
  return text
}
