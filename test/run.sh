#!/bin/sh
# Runs the tests: all of them, or the files named. Two at a time, but those that say "// Alone: REASON" in their first line.
# Of all of them, a few files that fail are run once more, alone and named: docs/decisions/243.
cd "$(dirname "$0")/.." || exit 1
sh test/setup.sh
export PATH="$PWD/node_modules/.bin:$PATH"
# Node strips the types of the source each time a file is loaded; this keeps what comes out.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE-$PWD/node_modules/.cache/flistfs}"
tap() { sh bin/node node_modules/tap/dist/esm/run.mjs "$@"; }

# .taprc leaves tap's TypeScript plugin out, because Node runs the source as it is. Its test class is compiled once for that.
if grep -qs '@tapjs/typescript' node_modules/@tapjs/test/test-built/dist/esm/index.js; then tap build >/dev/null || exit 1; fi
# Servers of tests are on the loopback: what the machine reaches others by does not lead there.
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY

# All that the tests make lies here, so that what they leave is found; users of tests look into it.
base=${TMPDIR:-/tmp}
# The address of a socket has 107 bytes at the most, and tests need half of them.
[ "${#base}" -le 48 ] || base=/tmp
folder=$(mktemp -d "$base/flistfs-XXXXXX") && chmod 755 "$folder" || exit 1
# Every user may open the device, as on most systems: some tests mount as users, and two of them may do so at once.
device=$(stat -c %a /dev/fuse 2>/dev/null)
[ "$device" ] && chmod 666 /dev/fuse 2>/dev/null
failed=$(mktemp)
after() {
  rm -f "$failed"
  [ "$device" ] && chmod "$device" /dev/fuse 2>/dev/null
  rm -rf "$folder/published"
  rmdir "$folder" 2>/dev/null
}
trap after EXIT
trap 'exit 1' HUP INT TERM

reporter=
[ -t 1 ] || reporter=--reporter=tap
code=0
run() {
  jobs=$1
  shift
  # The files that fail are left in this one; an empty one would stand for all, and for none when it is read.
  rm -f "$failed.now"
  [ "$#" -eq 0 ] || TMPDIR="$folder" tap run $reporter --jobs="$jobs" --save="$failed.now" "$@" || code=1
  cat "$failed.now" >>"$failed" 2>/dev/null
  rm -f "$failed.now"
}
if [ "$#" -gt 0 ]; then
  run 1 "$@"
else
  # Tests that run the program as a process, as it is published.
  sh bin/node test/published.ts "$folder/published" || exit 1
  export FLISTFS_TEST_PROGRAM="$folder/published"
  # Those that mount take longest, so they begin.
  all=$(find test/e2e -name '*.test.ts' | sort && find test -name '*.test.ts' ! -path 'test/e2e/*' | sort)
  alone=$(grep -l '^// Alone: ' $all)
  run 2 $(printf '%s\n' "$all" | grep -vxF "$alone")
  run 1 $alone
  count=$(grep -c . "$failed")
  if [ "$count" -gt 0 ] && [ "$count" -le 3 ]; then
    again=$(cat "$failed")
    echo "# Once more, alone:" $again
    code=0
    run 1 $again
  fi
fi
sh bin/node test/leftovers.ts "$folder" || code=1
exit "$code"
