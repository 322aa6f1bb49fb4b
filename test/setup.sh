#!/bin/sh
# Installs the programs that tests compare with, where they are missing: by Go an S3 server that checks signatures, and, where this
# is root on Debian, packages. A test whose program is absent skips aloud, so failing here is no failure.
tools="${XDG_CACHE_HOME:-$HOME/.cache}/flistfs-test/bin"
if [ ! -x "$tools/versitygw" ]; then
  if command -v go >/dev/null 2>&1; then
    mkdir -p "$tools" && GOBIN="$tools" timeout 600 go install github.com/versity/versitygw/cmd/versitygw@v1.8.0 >/dev/null 2>&1
  fi
  [ -x "$tools/versitygw" ] || echo "setup: could not install: versitygw, which needs Go (tests that need it skip)" >&2
fi
missing=
for pair in fusermount3:fuse3 zsh:zsh fish:fish mandoc:mandoc redis-server:redis-server rsync:rsync getfattr:attr getfacl:acl file:file python3:python3 umoci:umoci skopeo:skopeo buildah:buildah podman:podman docker-registry:docker-registry openssl:openssl ssh-keygen:openssh-client sshfs:sshfs; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
# The library of fuse-native; where its package is libfuse2t64, that one provides this name.
ls /lib/*/libfuse.so.2 /usr/lib*/libfuse.so.2 2>/dev/null | grep -q . || missing="$missing libfuse2"
[ "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: not installed:$missing (tests that need them skip)" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
install() { timeout 240 apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1; }
# Tests are worth more time than packages: whatever is missing then is skipped.
late=$(($(date +%s) + 900))
install || { timeout 120 apt-get update -qq >/dev/null 2>&1 && install; } || for one in $missing; do
  [ "$(date +%s)" -lt "$late" ] || break
  # One that this system does not have keeps the others away.
  missing="$one" && install || echo "setup: could not install: $one (tests that need it skip)" >&2
done
exit 0
