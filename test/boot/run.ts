import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import t from 'tap'
import { Lab, NO_MOUNT, PROJECT } from '../e2e/lab.ts'
import { Guest } from './guest.ts'
import { bootPrograms, makeImage, PACKAGE, SAMPLE } from './image.ts'

/*
 * `npm run test:boot [-- --suite trixie --packages FOLDER --keep FOLDER]`: boots a Debian that has our package under QEMU,
 * without KVM, and looks how the unit, the line of fstab and what stands on their mounts live through everything a service
 * manager does. Ten minutes or more, as root, with a Debian mirror; no part of `npm test`. `--keep` is where the console and
 * all that was asked and said are kept.
 */
const { values } = parseArgs({
  options: { suite: { type: 'string' }, packages: { type: 'string' }, keep: { type: 'string' } },
})
const SUITE = values.suite ?? 'trixie'
const UNIT = 'flistfs@mnt-unit.service'
const SUMS = (at: string): string =>
  `cd ${at} && find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum`
/** The connection of what is mounted on a folder: another mount has another. */
const CONNECTION = `awk '$5 == "/mnt/unit" { print $3 }' /proc/self/mountinfo`
/** The server below the unit's main process. */
const SERVER = `for p in $(cat /sys/fs/cgroup/system.slice/system-flistfs.slice/${UNIT}/cgroup.procs); do
  case $(readlink /proc/$p/exe) in */node) echo $p ;; esac; done`

const absent = NO_MOUNT || bootPrograms()
const skip = typeof absent === 'string' ? absent : absent.length > 0 && `needs ${absent.join(', ')}`

t.setTimeout(5_400_000)

const work = mkdtempSync(join(tmpdir(), 'flistfs-boot-'))
t.teardown(() => rmSync(work, { recursive: true, force: true }))

/** What the sample's files are, by a mount of the packaged program on this machine. */
async function expectedSums(deb: string): Promise<string> {
  const lab = new Lab()
  try {
    await lab.ok('dpkg-deb', ['-x', deb, lab.folder('program')])
    const [program, at] = [lab.path('program/usr/lib/flistfs/bin/flistfs'), lab.folder('at')]
    await lab.ok(program, ['mount', join(PROJECT, 'fixtures/sample/debian.fl'), at])
    const sums = await lab.ok('sh', ['-c', SUMS(at)])
    await lab.ok(program, ['umount', at])
    return sums
  } finally {
    await lab.close()
  }
}

/** Something that stands on the unit's mount: an open file, a current folder, a running program. */
class Witness {
  readonly #guest: Guest

  constructor(guest: Guest) {
    this.#guest = guest
  }

  async start(): Promise<void> {
    const program = 'exec chroot /mnt/unit /usr/bin/bash -c "while read -r; do :; done" <>/run/park'
    await this.#guest.ok(`mkfifo /run/ask /run/answer /run/park
      systemd-run --quiet --unit=witness perl /srv/witness.pl /run/ask /run/answer
      systemd-run --quiet --unit=program sh -c '${program}'`)
  }

  /** What it reads through the file it has open, compared with what it read first. */
  async asked(): Promise<string> {
    const ask =
      'timeout 200 sh -c "echo read > /run/ask; cat /run/answer; echo on > /run/park"; systemctl is-active witness program'
    return (await this.#guest.run(ask)).output
  }
}
/** Records of mounts as where /run is no memory: on the disk, which a boot does not empty. */
const RECORDS = '/var/lib/records'
const KEPT = `mount ${SAMPLE} /mnt/kept --upper /var/lib/changes`

/** Milliseconds: unpacking is much work for such a machine. */
const DPKG_MS = 1_200_000
const WELL = 'same\nactive\nactive\n'

t.test(`a Debian ${SUITE} that boots`, { skip }, async (t) => {
  const packages = values.packages === undefined ? join(work, 'packages') : resolve(values.packages)
  if (values.packages === undefined) {
    const words = [join(PROJECT, 'bin/node'), join(PROJECT, 'scripts/package.ts'), packages]
    execFileSync('sh', words, { timeout: 900_000, stdio: ['ignore', 'ignore', 'inherit'] })
  }
  const deb = readdirSync(packages).find((name) => name.endsWith('_amd64.deb'))
  if (deb === undefined) throw new Error(`${packages} has no Debian package`)
  const right = await expectedSums(join(packages, deb))
  const guest = new Guest(makeImage(work, SUITE, join(packages, deb)), work)
  const witness = new Witness(guest)
  const server = async (): Promise<number> => Number(await guest.ok(SERVER))
  try {
    await t.test('boots with both mounts', async (t) => {
      await guest.booted()
      t.comment((await guest.ok('uname -sr; systemctl --version | head -1')).trim())
      await guest.wait('test "$(systemctl is-system-running)" != starting')
      t.equal(await guest.ok('systemctl list-units --failed --no-legend --plain'), '', 'nothing has failed')
      t.equal(await guest.ok(`systemctl is-active ${UNIT} early-user mnt-fstab.mount`), 'active\nactive\nactive\n')
      t.comment(await guest.ok(`systemctl status ${UNIT} --no-pager --full`))
      t.match(
        await guest.ok(`systemctl show ${UNIT} -p Type,SubState,StatusText,WatchdogUSec,NRestarts`),
        /^(?=[^]*^Type=notify$)(?=[^]*^SubState=running$)(?=[^]*^StatusText=\/srv\/sample\/debian\.fl on \/mnt\/unit$)(?=[^]*^WatchdogUSec=2min$)(?=[^]*^NRestarts=0$)/m,
        'the manager knows what it is told',
      )
      t.match(await guest.ok('findmnt -n -o FSTYPE,SOURCE /mnt/fstab'), new RegExp(`^fuse\\.flistfs +${SAMPLE}\n$`))
      for (const at of ['/mnt/unit', '/mnt/fstab']) t.equal(await guest.ok(SUMS(at)), right, `${at} reads right`)
      await witness.start()
      t.equal(await witness.asked(), WELL)
    })

    await t.test('the manager does not notice that a server dies', async (t) => {
      const [before, connection] = [await server(), await guest.ok(CONNECTION)]
      await guest.ok(`kill -9 ${before}`)
      t.equal(await witness.asked(), WELL, 'what stands on the mount does not either')
      t.not(await server(), before)
      t.equal(await guest.ok(CONNECTION), connection)
      t.equal(await guest.ok(`systemctl show ${UNIT} -p NRestarts,ActiveState`), 'NRestarts=0\nActiveState=active\n')
    })

    await t.test('the mount outlives supervisor and server killed together', async (t) => {
      const connection = await guest.ok(CONNECTION)
      const restarts = async (): Promise<number> =>
        Number(await guest.ok(`systemctl show ${UNIT} --value -p NRestarts`))
      const before = await restarts()
      t.equal(await guest.ok(`systemctl show ${UNIT} -p NFileDescriptorStore`), 'NFileDescriptorStore=1\n')
      await guest.ok(`systemctl kill --kill-whom=all --signal=KILL ${UNIT}`)
      t.equal(await witness.asked(), WELL, 'who reads waits for the next start')
      await guest.wait(`systemctl is-active --quiet ${UNIT}`)
      t.equal(await guest.ok(CONNECTION), connection)
      t.equal(await restarts(), before + 1)
      t.equal(
        await guest.ok(`systemctl show ${UNIT} -p NFileDescriptorStore`),
        'NFileDescriptorStore=1\n',
        'still kept',
      )
      t.match(await guest.ok(`journalctl --no-pager -u ${UNIT}`), /another server goes on .*why="it was kept"/)
    })

    await t.test('a restart keeps the mount', async (t) => {
      const [before, connection] = [await server(), await guest.ok(CONNECTION)]
      await guest.ok(`systemctl restart ${UNIT}`)
      t.equal(await witness.asked(), WELL)
      t.equal(await guest.ok(CONNECTION), connection)
      t.not(await server(), before)
      t.equal(await guest.ok(`systemctl show ${UNIT} -p Result,ActiveState`), 'Result=success\nActiveState=active\n')
      t.comment(await guest.ok(`journalctl --no-pager -u ${UNIT}`))
    })

    await t.test('the watchdog ends a server that hangs, and the mount goes on', async (t) => {
      const conf = `mkdir -p /etc/systemd/system/${UNIT}.d; printf '[Service]\\nWatchdogSec=40\\n' > /etc/systemd/system/${UNIT}.d/watchdog.conf`
      await guest.ok(`${conf}; systemctl daemon-reload; systemctl restart ${UNIT}`)
      const [before, connection] = [await server(), await guest.ok(CONNECTION)]
      await guest.ok(`kill -STOP ${before}`)
      t.equal(await witness.asked(), WELL, 'who reads waits for the next start')
      await guest.wait(`systemctl is-active --quiet ${UNIT}`)
      t.equal(await guest.ok(CONNECTION), connection)
      t.not(await server(), before)
      t.match(await guest.ok(`journalctl --no-pager -u ${UNIT}`), /Watchdog timeout/)
    })

    await t.test('mounts go over to the program of a package that is put over it', async (t) => {
      const ofFstab = async (): Promise<number | undefined> =>
        (JSON.parse(await guest.ok('flistfs list --json')) as { directory: string; pid: number }[]).find(
          ({ directory }) => directory === '/mnt/fstab',
        )?.pid
      const show = `systemctl show ${UNIT} -p NRestarts,MainPID,ActiveState`
      const [before, fstab, shown] = [await server(), await ofFstab(), await guest.ok(show)]
      const connection = await guest.ok(CONNECTION)
      // What it prints has carriage returns: in a comment of TAP they would swallow what is found out below.
      await guest.ok(`dpkg -i ${PACKAGE}`, DPKG_MS)
      t.equal(await witness.asked(), WELL)
      t.equal(await guest.ok(CONNECTION), connection)
      t.not(await server(), before)
      t.not(await ofFstab(), fstab)
      t.equal(await guest.ok(show), shown, 'the manager does not notice')
      t.equal(await guest.ok(SUMS('/mnt/fstab')), right)
    })

    await t.test('stop unmounts, start mounts again', async (t) => {
      await guest.ok('systemctl stop witness program')
      await guest.ok(`systemctl stop ${UNIT}`)
      t.equal((await guest.run('mountpoint -q /mnt/unit')).code, 32)
      t.equal((await guest.run(`cat /sys/fs/cgroup/system.slice/system-flistfs.slice/${UNIT}/cgroup.procs`)).code, 1)
      t.equal(await guest.ok(`systemctl show ${UNIT} -p Result,ActiveState`), 'Result=success\nActiveState=inactive\n')
      await guest.ok(`systemctl start ${UNIT}`)
      t.equal(await guest.ok(SUMS('/mnt/unit')), right)
    })

    for (const [what, command] of [
      ['reboot', 'systemctl reboot'],
      ['power loss', 'echo b > /proc/sysrq-trigger'],
    ] as const) {
      await t.test(`all is as at first after a ${what}`, async (t) => {
        await guest.ok(`export FLISTFS_RUNTIME=${RECORDS}; mkdir -p /mnt/passing /mnt/kept
          flistfs mount ${SAMPLE} /mnt/passing --rw && touch /mnt/passing/root/one
          flistfs ${KEPT} && touch '/mnt/kept/root/${what}' && sync`)
        t.equal(await guest.ok(`ls ${RECORDS} | grep -c "[.]json$"`), '2\n')
        await guest.again(command)
        await guest.wait('test "$(systemctl is-system-running)" != starting')
        t.equal(await guest.ok('systemctl list-units --failed --no-legend --plain'), '')
        const listed = JSON.parse(await guest.ok('flistfs list --json')) as { directory: string; state: string }[]
        const states = listed.map(({ directory, state }) => `${directory} ${state}`).toSorted()
        t.strictSame(states, ['/mnt/fstab mounted', '/mnt/unit mounted'])
        t.equal(await guest.ok('ls /run/flistfs | grep -c "[.]json$"'), '2\n', 'no record is left of before')
        for (const at of ['/mnt/unit', '/mnt/fstab']) t.equal(await guest.ok(SUMS(at)), right, `${at} reads right`)
        if (what === 'power loss')
          t.not((await guest.run(`ls ${RECORDS}`)).output, '', 'records on a disk are still there')
        t.equal(await guest.ok(`FLISTFS_RUNTIME=${RECORDS} flistfs list --json; ls -A ${RECORDS}`), '[]\n', 'and go')
        t.equal(await guest.ok('ls -A /var/cache/flistfs/v1/rw'), '', 'with the changes that were to be thrown away')
        t.match(
          await guest.ok(
            `export FLISTFS_RUNTIME=${RECORDS}; flistfs ${KEPT}; ls -1N /mnt/kept/root; flistfs umount /mnt/kept`,
          ),
          new RegExp(`^${what}$`, 'm'),
          'those that were to be kept are there',
        )
      })
    }
    await t.test('nothing is mounted nor runs when the package is taken away', async (t) => {
      await guest.ok('dpkg -r flistfs', DPKG_MS)
      for (const at of ['/mnt/unit', '/mnt/fstab']) t.equal((await guest.run(`mountpoint -q ${at}`)).code, 32, at)
      await guest.wait('! ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q /node')
      t.equal(await guest.ok('systemctl list-units --failed --no-legend --plain'), '')
    })
    await t.test('it is switched off', () => guest.off())
  } finally {
    await guest.close()
    const keep = values.keep === undefined ? undefined : resolve(values.keep)
    if (keep !== undefined) {
      mkdirSync(keep, { recursive: true })
      for (const name of ['console.log', 'transcript.txt']) cpSync(join(work, name), join(keep, `${SUITE}-${name}`))
    }
  }
})
