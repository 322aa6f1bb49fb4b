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
# A restart goes on with what is mounted: open files, running programs and what lies on top never notice.
ExecStop=${stopLine(program)}
# Files that are open when the service is stopped are served on until their last user has gone.
KillMode=process
SendSIGKILL=no
Restart=on-failure
RestartSec=1
WatchdogSec=2min
# The first mount of an archive fetches and reads it whole.
TimeoutStartSec=10min
TimeoutStopSec=30
# The manager keeps the device of the mount, so that it outlives supervisor and server.
FileDescriptorStoreMax=4
Environment=FLISTFS_FDSTORE=1
OOMScoreAdjust=-500
LimitNOFILE=65536

[Install]
WantedBy=remote-fs.target
`
}

/** What a restart ends is the supervisor alone, which leaves without unmounting. Nothing else tells a restart from a stop. */
function stopLine(program: string): string {
  const script =
    'systemctl list-jobs --full --no-legend | ' +
    '{ while read -r job unit what state; do [ "$$unit $$what" = "$$1 restart" ] && exit 0; done; exit 1; } && ' +
    // Whoever is asked twice, by the manager too, unmounts.
    '{ kill -QUIT "$$MAINPID"; while kill -0 "$$MAINPID" 2>/dev/null; do sleep 0.1; done; exit 0; }; exec "$$0" umount "$$2"'
  return `/bin/sh -c '${script}' ${program} %n %f`
}

/** A path as one word of a unit file: specifiers, variables, quotes and backslashes stand for themselves. */
function quote(path: string): string {
  const safe = path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /[^\w./+-]/.test(path) ? `"${safe}"` : safe
}
