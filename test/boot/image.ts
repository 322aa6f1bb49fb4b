import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { PROJECT } from '../e2e/lab.ts'

/** A machine that can be booted: kernel and first root as files of their own, so that it needs no boot loader. */
export interface Image {
  readonly kernel: string
  readonly initrd: string
  /** ext4, raw. */
  readonly disk: string
}

/** Milliseconds one program may take. */
const STEP_MS = 900_000
/** What the machine needs, of Debian; what the package itself needs, it must name itself. */
const PACKAGES = ['systemd', 'systemd-sysv', 'udev', 'linux-image-cloud-amd64', 'initramfs-tools', 'zstd', 'mount']
const DISK_SIZE = '2G'
export const PACKAGE = '/srv/flistfs.deb'
export const SAMPLE = '/srv/sample/debian.fl'

function run(command: string, ...words: readonly string[]): void {
  execFileSync(command, words, { timeout: STEP_MS, stdio: ['ignore', 'ignore', 'inherit'] })
}

/** The programs that boot a machine, installed where they are missing and can be. Returns the names of those still absent. */
export function bootPrograms(): string[] {
  const wanted: Readonly<Record<string, string>> = {
    mmdebstrap: 'mmdebstrap',
    'qemu-system-x86_64': 'qemu-system-x86',
    'mkfs.ext4': 'e2fsprogs',
    setpriv: 'util-linux',
  }
  const absent = (): string[] =>
    Object.keys(wanted).filter(
      (name) => spawnSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' }).status !== 0,
    )
  const missing = absent()
  if (missing.length > 0 && process.getuid?.() === 0) {
    const install = ['install', '-y', '-qq', '--no-install-recommends', ...missing.map((name) => wanted[name] ?? name)]
    const options = {
      timeout: STEP_MS,
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    } as const
    if (spawnSync('apt-get', install, options).status !== 0) {
      spawnSync('apt-get', ['update', '-qq'], options)
      spawnSync('apt-get', install, options)
    }
  }
  return absent()
}

/** Makes a Debian of `suite` in `dir` with our package, the sample, a unit that is enabled and a line of fstab. */
export function makeImage(dir: string, suite: string, deb: string): Image {
  const root = join(dir, 'root')
  // The first root holds what mounts the second and nothing else: it is unpacked by a slow machine.
  mkdirSync(join(dir, 'initramfs'))
  writeFileSync(join(dir, 'initramfs/conf'), 'MODULES=list\n')
  writeFileSync(join(dir, 'initramfs/modules'), 'virtio_blk\nvirtio_pci\next4\n')
  const prepare = `mkdir -p "$1/etc/initramfs-tools/conf.d" &&
    cp ${dir}/initramfs/conf "$1/etc/initramfs-tools/conf.d/boot" && cp ${dir}/initramfs/modules "$1/etc/initramfs-tools/modules"`
  const install = `cp '${deb}' "$1${PACKAGE}" && chroot "$1" apt-get install -y -qq --no-install-recommends ${PACKAGE} >/dev/null`
  const hooks = [`--setup-hook=${prepare}`, `--customize-hook=${install}`]
  run('mmdebstrap', '--quiet', '--variant=minbase', `--include=${PACKAGES.join(',')}`, ...hooks, suite, root)
  furnish(root)
  const boot = readdirSync(join(root, 'boot'))
  const take = (prefix: string): string => {
    const name = boot.find((entry) => entry.startsWith(prefix))
    if (name === undefined) throw new Error(`the machine has no ${prefix}`)
    copyFileSync(join(root, 'boot', name), join(dir, prefix))
    return join(dir, prefix)
  }
  const image = { kernel: take('vmlinuz'), initrd: take('initrd.img'), disk: join(dir, 'disk') }
  run('mkfs.ext4', '-q', '-d', root, image.disk, DISK_SIZE)
  return image
}

/** Files of the machine: which mounts it has, and the shell through which it is asked. */
function furnish(root: string): void {
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  cpSync(join(PROJECT, 'fixtures/sample'), join(root, 'srv/sample'), { recursive: true })
  cpSync(join(import.meta.dirname, 'witness.pl'), join(root, 'srv/witness.pl'))
  for (const name of ['unit', 'fstab']) mkdirSync(join(root, 'mnt', name), { recursive: true })
  write('etc/hostname', 'guest\n')
  write('etc/machine-id', '')
  write('etc/fstab', `/dev/vda / ext4 defaults 0 1\n${SAMPLE} /mnt/fstab flistfs defaults 0 0\n`)
  write('etc/flistfs/mounts/mnt-unit.conf', `ARCHIVE=${SAMPLE}\nOPTIONS=--log-level debug\n`)
  // A unit that wants what is mounted: it fails where it is started too early.
  write('etc/systemd/system/early-user.service', EARLY_USER)
  write('etc/systemd/system/serial-shell.service', SHELL)
  // A slow machine needs longer than the default of fstab's mounts.
  write('etc/systemd/system.conf.d/slow.conf', '[Manager]\nDefaultTimeoutStartSec=10min\nDefaultTimeoutStopSec=5min\n')
  const units = ['flistfs@mnt-unit.service', 'early-user.service', 'serial-shell.service']
  run('systemctl', `--root=${root}`, '--quiet', 'enable', ...units)
}

const EARLY_USER = `[Unit]
Description=reads the mount as soon as it is said to be there
Requires=flistfs@mnt-unit.service
After=flistfs@mnt-unit.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cat /mnt/unit/etc/debian_version
[Install]
WantedBy=multi-user.target
`

const SHELL = `[Unit]
Description=the shell that the test asks
After=multi-user.target
[Service]
Type=idle
Environment=TERM=dumb SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat SYSTEMD_URLIFY=0 HOME=/root PS1= PS2=
ExecStart=/bin/sh -c 'stty raw -echo; echo SHELL-READY; exec /bin/sh'
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
# A shell at a terminal ignores what else ends a service.
KillSignal=SIGKILL
Restart=always
[Install]
WantedBy=default.target
`
