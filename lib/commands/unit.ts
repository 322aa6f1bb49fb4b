/**
 * The unit template `flistfs@.service`. The instance is the mount point as systemd escapes it; what to mount there stands in
 * /etc/flistfs/mounts/INSTANCE.conf. `flistfs` is the absolute path of the launcher. docs/systemd.md explains the choices.
 */
export function unitText(flistfs: string): string {
  const program = quote(flistfs)
  return `[Unit]
Description=flist archive on %f
Documentation=man:flistfs(1)
Wants=network-online.target
After=network-online.target
Before=remote-fs.target
Conflicts=umount.target
Before=umount.target

[Service]
# No sandboxing here: it would give the service a tree of its own, in which nobody else sees the mount.
Type=notify
# The supervisor is the main process; its server says when it is ready and that it lives.
NotifyAccess=all
EnvironmentFile=/etc/flistfs/mounts/%i.conf
ExecStart=${program} mount --foreground $OPTIONS -- \${ARCHIVE} %f
ExecStop=${program} umount %f
# Whose supervisor was killed or who stopped answering leaves nothing behind that would be in the way of the next start.
ExecStopPost=-/bin/sh -c 'case "$$SERVICE_RESULT" in watchdog|signal|core-dump) exec "$$0" umount --force "$$1" ;; esac' ${program} %f
# Files that are open when the service is stopped are served on until their last user has gone.
KillMode=process
SendSIGKILL=no
Restart=on-failure
RestartSec=1
WatchdogSec=2min
# The first mount of an archive fetches and reads it whole.
TimeoutStartSec=10min
TimeoutStopSec=30
FileDescriptorStoreMax=4
OOMScoreAdjust=-500
LimitNOFILE=65536

[Install]
WantedBy=remote-fs.target
`
}

/** A path as one word of a unit file: specifiers, variables, quotes and backslashes stand for themselves. */
function quote(path: string): string {
  const safe = path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /[^\w./+-]/.test(path) ? `"${safe}"` : safe
}
