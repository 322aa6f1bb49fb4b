/** Examples of `--help`, per verb: the words after `flistfs`, and what they do. test/house.test.ts runs them through the parser. */
export const EXAMPLES: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  mount: [
    ['mount debian.fl /mnt/debian', 'A local archive; returns once it is mounted'],
    ['mount tf-official-apps/ubuntu-22.04.flist /mnt/ubuntu', 'By its name on the hub'],
    ['mount https://hub.example.org/me/app.flist /mnt/app --digest sha256:9f86d081884c7d65...', 'By URL, pinned'],
    ['mount debian.fl /mnt/debian --store dir:///srv/blocks', 'Blocks from a folder'],
    [
      'mount app.fl /mnt/app --store 00-7f=http://a.example.org --store 80-ff=http://b.example.org',
      'Blocks split over two stores',
    ],
    ['mount debian.fl /mnt/debian --rw --upper /srv/changes', 'Writable; changes kept in a folder'],
    ['mount debian.fl /mnt/debian --foreground', 'Stay; Ctrl-C unmounts'],
  ],
  umount: [
    ['umount /mnt/debian', 'Unmount and wait until the server has ended'],
    ['umount --lazy /mnt/debian', 'Leave the tree now; files that are open live on'],
    ['umount --force /mnt/debian', 'Even when readers hang or the server is dead'],
  ],
  upgrade: [
    ['upgrade /mnt/debian', 'Under a live mount; readers wait for a moment'],
    ['upgrade --all', 'After a new version was installed'],
  ],
  list: [
    ['list', 'What is mounted'],
    ['list --json', 'The same for programs'],
  ],
  stats: [
    ['stats /mnt/debian', 'How much of the archive is here, hits, requests, stores'],
    ['stats --json', 'All mounts, for programs'],
    ['stats --watch', 'Again and again, each two seconds'],
    ['stats /mnt/debian --watch 10 --json', 'One JSON object a line, each ten seconds'],
  ],
  why: [['why /mnt/debian/usr/bin/bash', 'What is here of a file, and who would serve the rest']],
  'log-level': [['log-level /mnt/debian debug', 'Log more from now on, without a new mount']],
  trace: [
    ['trace /mnt/debian debian.trace', 'A line for each request and each reply, from now on'],
    ['trace /mnt/debian --off', 'No more'],
  ],
  inspect: [
    ['inspect debian.fl', 'Format, entries, blocks, routes and tags'],
    ['inspect tf-official-apps/ubuntu-22.04.flist --json', 'The same of an archive on a hub, as JSON'],
  ],
  tree: [['tree debian.fl etc --level 2', 'Two levels below /etc']],
  ls: [
    ['ls -l debian.fl usr/bin', 'As ls -l on a mount, without one'],
    ['ls -lR debian.fl', 'All of it'],
  ],
  stat: [['stat debian.fl etc/os-release bin', 'All attributes, extended ones too']],
  cat: [['cat debian.fl etc/os-release', 'A file, fetched where it is not cached']],
  find: [
    ['find debian.fl usr -name "*.so.*" -type f', 'Paths, then tests as find(1) has them'],
    ['find debian.fl -perm -4000 -printf "%m %p\\n"', 'What is setuid'],
  ],
  diff: [
    ['diff debian-12.fl debian-13.fl', 'A letter, a path, and what differs'],
    ['diff debian.fl /srv/debian --ignore mtime --stat', 'An archive and a folder, counted'],
  ],
  unpack: [
    ['unpack debian.fl /srv/debian', 'All of it as files'],
    ['unpack debian.fl --tar debian.tar', 'As a tar; --tar - writes it to a pipe'],
  ],
  verify: [
    ['verify debian.fl', 'Read all of the archive again'],
    ['verify debian.fl --deep --repair --from s3s://mirror.example.org/blocks', 'Check every block, mend the store'],
    ['verify app.fl --key release.pub', 'Whether this key signed it, and all is as it was then'],
  ],
  keygen: [['keygen release', 'The files release and release.pub']],
  sign: [
    ['sign app.fl --key release', 'The signature becomes a tag of the archive'],
    ['sign app.fl --key release --detached', 'Into app.fl.sig; the archive stays as it is'],
  ],
  edit: [
    ['edit debian.fl rm -r usr/share/doc', 'Without the documentation'],
    ['edit debian.fl --output mine.fl put motd etc/motd', 'A copy with another file'],
    ['edit debian.fl -', 'Commands from standard input, one a line, all or none'],
  ],
  merge: [['merge base.fl app.fl -o both.fl', 'app.fl over base.fl']],
  tag: [
    ['tag debian.fl', 'All tags'],
    ['tag debian.fl version=12 --remove draft', 'Set one, remove one'],
  ],
  route: [
    ['route debian.fl', 'Where its blocks are'],
    ['route debian.fl --add https://mirror.example.org/blocks', 'One more place'],
  ],
  du: [['du debian-12.fl debian-13.fl', 'What two archives share']],
  pack: [
    ['pack /srv/image app.fl --store dir:///srv/blocks', 'A folder; its blocks into another'],
    ['pack /srv/image app.fl --store dir:///srv/blocks --base app-1.fl', 'Read only what changed since'],
    [
      'pack /srv/image app.fl --store s3s://s3.example.org/blocks --exclude "*.log" --owner root:0 --group root:0',
      'Into a bucket; all belongs to root',
    ],
    ['pack - app.fl --store dir:///srv/blocks', 'A tar from a pipe: tar -c . | flistfs pack - ...'],
    ['pack /srv/image app.flist --format v1 --store zdb://hub.example.org:9900/images', 'For nodes that read v1'],
  ],
  convert: [
    ['convert debian:12 debian.fl --store dir:///srv/blocks', 'An image of Docker Hub; no daemon is needed'],
    [
      'convert quay.io/team/app@sha256:9f3ad6a0fe1ba2a3ca9b6c3a02a3ed20e8c8bd1c6f8a4ad3f1f1d6e9b5c0aa42 app.fl --store zdb://hub.example.org:9900/images --platform linux/arm64',
      'By digest, for another machine',
    ],
    ['convert oci-archive:app.tar app.fl --store dir:///srv/blocks --no-startup', 'An archive of an OCI layout'],
  ],
  export: [
    ['export app.fl oci:app-image:1.0 --store dir:///srv/blocks', 'An OCI layout; skopeo, buildah and umoci read it'],
    ['export app.fl docker-archive:app.tar:app:1.0', 'For docker load'],
    ['export app.fl registry.example.org/team/app:1.0', 'To a registry'],
  ],
  cache: [
    ['cache list', 'What the cache holds, by archive'],
    ['cache prune --to 5G', 'Remove what was used longest ago until 5 GiB are left'],
    ['cache prune --older 30d --dry-run', 'What a month without use would remove'],
    ['cache verify --repair', 'Hash every block and drop the damaged ones'],
    ['cache pin debian.fl --fetch --store dir:///srv/blocks', 'Fetch an archive now, and keep it'],
    ['cache unpin debian.fl', 'Let it go again when room is needed'],
  ],
  config: [['config', 'What settings files and variables say']],
  completion: [
    ['completion bash', 'For ~/.bashrc: source <(flistfs completion bash)'],
    ['completion fish', 'For ~/.config/fish/completions/flistfs.fish'],
  ],
  setup: [
    ['setup', 'Put the mount helper, the unit, completions and man pages in their places'],
    ['setup --zero-os', 'Also answer to g8ufs and rfs'],
    ['setup --remove', 'Take it all away again'],
  ],
  demo: [['demo', 'Mount the sample archive and show what is fetched']],
}

/** The examples as the end of a help text. */
export function examplesText(verb: string): string {
  const examples = EXAMPLES[verb] ?? []
  return ['', 'Examples:', ...examples.flatMap(([words, what]) => [`  # ${what}`, `  flistfs ${words}`])].join('\n')
}

/** One example a verb, for the program's own help. */
export function programExamples(): string {
  const lines = Object.values(EXAMPLES).map((examples) => examples[0]?.[0] ?? '')
  return ['', 'Examples:', ...lines.map((words) => `  flistfs ${words}`)].join('\n')
}
