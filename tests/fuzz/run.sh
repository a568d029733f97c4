#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a number of seconds, or until ten million executions:
#
#     tests/fuzz/run.sh SECONDS [TARGET…]
#
# Needs cargo-fuzz and a C++ compiler. Prints a line for each target; exits with 1 if one found something, which is then
# in artifacts/TARGET. Corpora grow in corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?tests/fuzz/run.sh SECONDS [TARGET…]}
shift
export RUSTC_BOOTSTRAP=1
mapfile -t targets < <(cargo fuzz list --fuzz-dir . | grep -v '^seeds$')
[ $# -gt 0 ] && targets=("$@")
cargo fuzz build --fuzz-dir .
host=$(rustc -vV | sed -n 's/^host: //p')
"target/$host/release/seeds"
folder=$(mktemp -d "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)/lookout-fuzz.XXXXXX")
log=$(mktemp)
trap 'rm -rf "$folder" "$log"' EXIT
found=0
printf '%-16s %12s %10s %8s %s\n' target executions seconds edges result
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    result=passed
    # Logs of the library are off. Threads of servers live until the end, so leaks are not counted.
    LOOKOUT_FUZZ_FOLDER=$folder "target/$host/release/$target" "corpus/$target" "-artifact_prefix=artifacts/$target/" \
        "-max_total_time=$seconds" -runs=10000000 -timeout=20 -rss_limit_mb=2560 -detect_leaks=0 -print_final_stats=1 \
        > "$log" 2>&1 || result=FOUND
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    took=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-16s %12s %10s %8s %s\n' "$target" "${runs:-?}" "${took:-?}" "${edges:-?}" "$result"
    if [ $result = FOUND ]; then
        found=1
        tail -n 30 "$log" >&2
    fi
    rm -rf "${folder:?}"/*
done
exit $found
