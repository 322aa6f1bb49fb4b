#!/bin/sh
# Runs the tests: all of them, or the files named. Tests that mount run one at a time, the others two.
cd "$(dirname "$0")/.." || exit 1
sh test/setup.sh
export PATH="$PWD/node_modules/.bin:$PATH"
# Node strips the types of the source each time a file is loaded; this keeps what comes out.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE-$PWD/node_modules/.cache/flistfs}"
tap() { sh bin/node node_modules/tap/dist/esm/run.mjs "$@"; }

# .taprc leaves tap's TypeScript plugin out, because Node runs the source as it is. Its test class is compiled once for that.
if grep -qs '@tapjs/typescript' node_modules/@tapjs/test/test-built/dist/esm/index.js; then tap build >/dev/null || exit 1; fi

reporter=
[ -t 1 ] || reporter=--reporter=tap
if [ "$#" -gt 0 ]; then
  tap run $reporter --jobs=1 "$@"
  exit
fi
code=0
tap run $reporter --jobs=2 $(find test -name '*.test.ts' ! -path 'test/e2e/*' | sort) || code=1
e2e=$(find test/e2e -name '*.test.ts' | sort)
if [ "$e2e" ]; then tap run $reporter --jobs=1 $e2e || code=1; fi
exit "$code"
