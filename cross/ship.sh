#!/usr/bin/env bash
# Builds the program to ship, with its line tables in a file beside it.
#
#   cross/ship.sh [CARGO OPTION...]        such as --features mqtt-tls, or --target aarch64-unknown-linux-gnu
#
# The last lines are the two files: lookout, whose backtraces name functions, and lookout.debug. Where lookout.debug lies
# beside the program or in /usr/lib/debug, backtraces name files and lines, too; addr2line -e lookout.debug finds them from
# addresses alone. Needs objcopy, of the binutils that building needs anyway.
#
# Environment: CARGO (default cargo), OBJCOPY (default objcopy; llvm-objcopy knows every target).
set -euo pipefail
cd "$(dirname "$0")/.."

messages=$("${CARGO:-cargo}" build --locked --profile ship --bin lookout --message-format=json-render-diagnostics "$@")
program=$(sed -nE 's/.*"executable":"([^"]*)".*/\1/p' <<<"$messages" | tail -n 1)
cd "$(dirname "$program")"

copy() { "${OBJCOPY:-objcopy}" "$@"; }
copy --only-keep-debug --compress-debug-sections lookout lookout.debug
# Names of tables and constants, which no backtrace prints, are a twentieth of the file.
copy --strip-debug --wildcard --strip-symbol='GCC_except_table*' --strip-symbol='anon.*' \
    --add-gnu-debuglink=lookout.debug lookout shipped
# A new file: the old one is cargo's as well, which puts it back at the next build.
mv shipped lookout
ls -l "$PWD/lookout" "$PWD/lookout.debug"
