#!/usr/bin/env bash
# Builds and tests lookout for other machines than this one, on Debian, without containers.
#
#   cross/check.sh [OPTION...] [TARGET...]
#
# TARGET: aarch64-unknown-linux-gnu aarch64-unknown-linux-musl armv7-unknown-linux-gnueabihf x86_64-unknown-linux-musl;
# without one, all four. Each is built, its tests run under every CPU listed below (emulated, or this one), and so does the
# program: it must find the same things in the same picture everywhere, with every kernel that the CPU has, and in the
# artifacts that the others quantized. The last lines are a table of what passed. The exit status is 1 if anything failed,
# 69 if something is missing that the script may not install.
#
#   --check          check only, the tests too: compiles without linking, so no linker and no emulator is needed
#   --build          build only, the tests too
#   --install        install missing Debian packages (as root)
#   --test NAME      run `lib`, `int8` or this module of tests/suite.rs; may be repeated
#                    (default: kernels_u8 kernels_f32 int8 preprocess)
#   --program        no tests, only the program
#   --filter TEXT    run only tests whose names hold TEXT
#   --all            every test that does not start the program itself
#   --cpu NAME       emulate this CPU only; may be repeated
#   --rust WHERE     where the standard library of a target comes from: `rustup` (an installed target, or `rustup target
#                    add`), `source` (built from the toolchain's rust-src), `debian` (Debian's own toolchain, fetched and
#                    unpacked aside, see debian-rust.sh); without it, the first of these that works
#
# Environment: CARGO_TARGET_DIR (default target/cross), LOOKOUT_CROSS_CACHE (tools that are fetched, default
# ~/.cache/lookout-cross), CARGO (default cargo).
#
# The gnu targets are linked by Debian's cross gcc, the musl ones by zig (cargo-zigbuild, from PyPI).
set -euo pipefail
cd "$(dirname "$0")/.."

CACHE=${LOOKOUT_CROSS_CACHE:-$HOME/.cache/lookout-cross}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/cross}
ARITHMETIC=(kernels_u8 kernels_f32 int8 preprocess)
# Versions of the last results in cross/README.md.
ZIG=(cargo-zigbuild==0.24.1 ziglang==0.15.2)

say() { printf '%s\n' "$*" >&2; }
fail() { say "cross/check.sh: $1"; exit "${2:-1}"; }

targets=() tests=() cpus=() filter='' install='' rust='' only_check='' only_build='' only_program=''
while (($#)); do
  case $1 in
    --check) only_check=1 ;;
    --build) only_build=1 ;;
    --install) install=1 ;;
    --program) only_program=1 ;;
    --all) mapfile -t tests < <(printf '%s\n' lib int8; holds() { grep -qs "$2" "tests/$1.rs" "tests/$1"/*.rs; }
      for name in $(sed -nE 's/^mod ([a-z0-9_]+);$/\1/p' tests/suite.rs); do
        if holds "$name" '#\[test\]' && ! holds "$name" CARGO_BIN_EXE; then echo "$name"; fi
      done) ;;
    --test) tests+=("${2:?a test\'s name}"); shift ;;
    --filter) filter=${2:?a text}; shift ;;
    --cpu) cpus+=("${2:?a CPU}"); shift ;;
    --rust) rust=${2:?rustup, source or debian}; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    -*) fail "there is no option $1; see --help" 64 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
((${#targets[@]})) || targets=(aarch64-unknown-linux-gnu aarch64-unknown-linux-musl armv7-unknown-linux-gnueabihf x86_64-unknown-linux-musl)
((${#tests[@]})) || tests=("${ARITHMETIC[@]}")
[ -z "$only_program" ] || tests=()

# packages PROGRAM=PACKAGE...: what must be installed.
packages() {
  local missing=() pair
  for pair; do command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}"); done
  ((${#missing[@]})) || return 0
  local command=(apt-get install -y --no-install-recommends --no-remove "${missing[@]}")
  [ -n "$install" ] || fail "run \`${command[*]}\` as root, or this with --install" 69
  say "# ${command[*]}"
  { apt-get -q update && "${command[@]}"; } >&2 || fail "cannot install ${missing[*]}" 69
}

CALLERS_RUSTC=${RUSTC:-} CALLERS_RUSTDOC=${RUSTDOC:-} unreached=''
# The target's standard library: sets `sources` where it must be built, and the toolchain to use.
standard_library() {
  local target=$1 rustc=${CALLERS_RUSTC:-rustc}
  sources=()
  unset RUSTC RUSTDOC
  [ -z "$CALLERS_RUSTC" ] || export RUSTC=$CALLERS_RUSTC ${CALLERS_RUSTDOC:+"RUSTDOC=$CALLERS_RUSTDOC"}
  has() { compgen -G "$("$1" --print target-libdir --target "$target")/libstd-*.rlib" >/dev/null; }
  if [ -z "$rust" ] || [ "$rust" = rustup ]; then
    if command -v "$rustc" >/dev/null && has "$rustc"; then return; fi
    # A toolchain that the caller chose is not rustup's to extend, and a server that cannot be reached is asked once.
    if [ -z "$CALLERS_RUSTC$unreached" ] && command -v rustup >/dev/null; then
      if timeout 300 rustup target add "$target" >&2; then return; fi
      unreached=1
    fi
    [ -z "$rust" ] || fail "rustup cannot add $target" 69
  fi
  if [ -z "$rust" ] || [ "$rust" = source ]; then
    if command -v "$rustc" >/dev/null && [ -f "$("$rustc" --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
      sources=(-Z 'build-std=std,panic_unwind'); return
    fi
    [ -z "$rust" ] || fail "no rust-src: rustup component add rust-src" 69
  fi
  # shellcheck source=cross/debian-rust.sh
  . cross/debian-rust.sh
  debian_rust "$CACHE" || fail "cannot unpack Debian's Rust" 69
  has "$RUSTC" || sources=(-Z 'build-std=std,panic_unwind')
}

# zig as a linker, in a virtual environment of its own.
zig() {
  [ -x "$CACHE/zig/bin/cargo-zigbuild" ] && [ -x "$CACHE/zig/bin/python-zig" ] && return
  packages python3=python3
  # Debian's python3 comes without the module that puts pip there.
  python3 -c 'import ensurepip' 2>/dev/null || packages ensurepip=python3-venv
  python3 -m venv "$CACHE/zig" >&2 || fail "cannot make a virtual environment" 69
  "$CACHE/zig/bin/pip" install -q "${ZIG[@]}" >&2 || fail "cannot install ${ZIG[*]}" 69
}

results=() failed=0
note() { results+=("$(printf '| %s | %s | %s | %s |' "$@")"); say "${results[-1]}"; }

# artifacts MESSAGES: what cargo's messages name.
artifacts() {
  local all
  all=$(sed -nE 's/.*"kind":\["([a-z]*)"\].*"name":"([^"]*)".*"profile":\{[^}]*"test":(true|false)\}.*"executable":"([^"]*)".*/\1-\3 \2 \4/p' <<<"$1")
  tested+=$(sed -nE 's/^(test|lib)-true //p' <<<"$all")
  program=$(sed -nE 's/^bin-false lookout //p' <<<"$all" | tail -n 1)
}

# binary_of TEST: the name, in cargo's messages, of the binary that holds it.
binary_of() {
  case $1 in
    lib) echo lookout ;;
    int8) echo int8 ;;
    *) echo suite ;;
  esac
}

# build TARGET: sets `tested`, lines of "name path", and `program`, the path of lookout.
build() {
  local target=$1 test choice=() messages
  local cargo=("${CARGO:-cargo}") verb=build
  tested='' program=''
  for test in "${tests[@]}"; do
    case $(binary_of "$test") in
      lookout) choice+=(--lib) ;;
      *) choice+=(--test "$(binary_of "$test")") ;;
    esac
  done
  # Quick to build, and quick enough under emulation: what computes is in this crate, but for candle's own layers, which
  # only some tests of --all compute with (LOOKOUT_CROSS_OPT=1 then).
  local flags=(--locked --message-format=json-render-diagnostics "${sources[@]}" --target "$target"
    --config 'profile.dev.opt-level=1' --config 'profile.dev.debug=false' --config 'profile.dev.incremental=false'
    --config "profile.dev.package.'*'.opt-level=${LOOKOUT_CROSS_OPT:-0}"
    # Its half-precision instructions assemble only where they are inlined into functions that declare them.
    --config 'profile.dev.package.gemm-f16.opt-level=1')
  unset RUSTC_BOOTSTRAP
  ((${#sources[@]} == 0)) || export RUSTC_BOOTSTRAP=1
  case $target in
    *-musl) verb=zigbuild cargo=(env "PATH=$CACHE/zig/bin:$PATH" "CARGO_ZIGBUILD_PYTHON_PATH=$CACHE/zig/bin/python3" "$CACHE/zig/bin/cargo-zigbuild") ;;
    aarch64-*) export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc ;;
    armv7-*) export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc ;;
  esac
  if ((${#choice[@]})); then
    messages=$("${cargo[@]}" test --no-run "${flags[@]}" "${choice[@]}") || return 1
    artifacts "$messages"
  fi
  # Integration tests bring the program with them; the library's own do not.
  [ -n "$program" ] || { messages=$("${cargo[@]}" "$verb" "${flags[@]}" --bin lookout) && artifacts "$messages"; } || return 1
  [ -n "$tested$only_program" ] && [ -n "$program" ]
}

# check TARGET: whether program and tests compile.
check() {
  unset RUSTC_BOOTSTRAP
  ((${#sources[@]} == 0)) || export RUSTC_BOOTSTRAP=1
  "${CARGO:-cargo}" check --locked --all-targets "${sources[@]}" --target "$1"
}

# needs TARGET: installs what building and running it takes, or says what is missing, before anything is built.
needs() {
  local cpu
  case $1 in
    *-musl) zig ;;
    aarch64-*) packages aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc=libc6-dev-arm64-cross ;;
    armv7-*) packages arm-linux-gnueabihf-gcc=gcc-arm-linux-gnueabihf arm-linux-gnueabihf-gcc=libc6-dev-armhf-cross ;;
  esac
  [ -z "$only_build" ] || return 0
  for cpu in "${cpus[@]:-emulated}"; do
    emulator "$1" "$cpu"
    [ "${emulator[0]}" = env ] || packages "${emulator[0]}=qemu-user-static"
  done
}

# emulated CPUs of a target; `native` is this one.
cpus_of() {
  case $1 in
    aarch64-*) echo cortex-a53 cortex-a72 cortex-a76 max ;;
    armv7-*) echo cortex-a7 cortex-a15 max ;;
    # Without AVX (Apollo Lake); without SSE4.1; with AVX2.
    x86_64-*) echo native Denverton Conroe Haswell ;;
  esac
}

# The command before a program that runs it as TARGET and CPU.
emulator() {
  case $1/$2 in
    */native) emulator=(env) ;;
    aarch64-*) emulator=(qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu "$2") ;;
    armv7-*) emulator=(qemu-arm-static -L /usr/arm-linux-gnueabihf -cpu "$2") ;;
    x86_64-*) emulator=(qemu-x86_64-static -cpu "$2") ;;
  esac
}

# run_target TARGET: tests and program under each CPU.
run_target() {
  local target=$1 cpu name path prefix chosen log started summary
  local list; read -ra list <<<"$(cpus_of "$target")"
  ((${#cpus[@]})) && list=("${cpus[@]}")
  for cpu in "${list[@]}"; do
    emulator "$target" "$cpu"
    log=$(mktemp)
    for name in "${tests[@]}"; do
      path=$(sed -n "s/^$(binary_of "$name") //p" <<<"$tested") prefix=''
      [ "$(binary_of "$name")" != suite ] || prefix=$name::
      started=$SECONDS
      say "# $target, $cpu: $name"
      # By their whole names, because several filters of a test binary add up.
      mapfile -t chosen < <("${emulator[@]}" "$path" --list </dev/null 2>/dev/null | sed -n 's/: test$//p' | grep "^$prefix" | grep -F -e "$filter")
      if ((${#chosen[@]} == 0)); then
        [ -n "$filter" ] || { note "$target" "$cpu" "$name" 'FAILED: no such tests'; failed=1; }
        continue
      fi
      if "${emulator[@]}" "$path" --exact "${chosen[@]}" </dev/null >"$log" 2>&1; then summary=passed; else summary="FAILED ($?)" failed=1; tail -n 40 "$log" >&2; fi
      note "$target" "$cpu" "$name" "$summary: $(sed -nE 's/^test result: [a-zA-Z]*\. ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored.*/\1 passed, \2 failed, \3 ignored/p' "$log"), $((SECONDS - started)) s"
    done
    program_under "$target" "$cpu"
    rm -f "$log"
  done
}

# Every name of detector.kernel.
KERNELS=(scalar sse41 avx2 avx-vnni avx512-vnni neon dotprod i8mm)
# What must be the same everywhere; programs that ran, as "target cpu program folder"; artifacts and who made them, by digest.
pictures=() checkpoints=() finds=() narrow=() runs=()
declare -A quantized=() makers=()

# emulated ARGUMENT...: the program under the emulator; what it complains of goes to the log.
emulated() { "${emulator[@]}" "$program" "$@" </dev/null 2>"$log"; }
# found MODEL PICTURE OPTION...: what it finds, without the picture's path.
found() {
  local json
  json=$(emulated detect --json --model "$1" "${@:3}" "$2") || return
  printf '%s\n' "${json#*\"width\"}"
}
count() { grep -o '"label"' <<<"$1" | wc -l; }
digest() { sha256sum | cut -c 1-12; }

# program_under TARGET CPU: the program at its work.
program_under() {
  local place=$CARGO_TARGET_DIR/street/$1-$2 step said started
  rm -rf "$place" && mkdir -p "$place"
  for step in street masks quantizes; do
    started=$SECONDS said=''
    say "# $1, $2: $step"
    if ! "$step" "$place" "$1" "$2"; then said="FAILED: ${said:-$(tail -n 3 "$log" | tr '\n|' '  ')}" failed=1; fi
    note "$1" "$2" "program: $step" "$said, $((SECONDS - started)) s"
  done
  runs+=("$1 $2 $program $place")
}

# The synthetic street's first picture, and what the built-in models find in it. The picture and what int8 finds are the
# same everywhere, to the last digit: their digests are compared at the end. The fp32 model is held to run.
street() {
  local picture=$1/image_2/000000.png int8 fp32
  emulated pattern --export "$1" --count 1 --png >/dev/null && int8=$(found demo-int8 "$picture") && fp32=$(found demo-fp32 "$picture") || return
  pictures+=("$(digest <"$picture")") finds+=("$(digest <<<"$int8")")
  said="picture ${pictures[-1]}; int8 found $(count "$int8"), ${finds[-1]}; fp32 found $(count "$fp32")"
}

# A narrow ResNet-50 with each kernel in turn: the same as with the one that the program chooses; one that the CPU lacks is
# refused.
masks() {
  local picture=$1/odd/image_2/000000.png model=tests/golden/r50.lookout kernel expected json status present=()
  emulated pattern --export "$1/odd" --count 1 --width 157 --height 83 --png >/dev/null || return
  expected=$(found "$model" "$picture" --score 0) || return
  for kernel in "${KERNELS[@]}"; do
    status=0
    json=$(found "$model" "$picture" --score 0 --set "detector.kernel=$kernel") || status=$?
    case $status in
      0) present+=("$kernel"); [ "$json" = "$expected" ] || { said="$kernel finds other things"; return 1; } ;;
      69) ;;
      *) return 1 ;;
    esac
  done
  [ "${present[0]:-}" = scalar ] || { said='the portable kernel is missing'; return 1; }
  narrow+=("$(digest <<<"$expected")")
  said="${present[*]} alike, $(count "$expected"), ${narrow[-1]}"
}

# An artifact of four small pictures, for the others to run.
quantizes() {
  local checkpoint=$1/narrow.checkpoint artifact=$1/narrow.lookout sum
  emulated pattern --export "$1/small" --count 4 --step 40 --width 213 --height 121 --png >/dev/null &&
    emulated import tests/golden/r50.safetensors --out "$checkpoint" --min-size 96 --max-size 200 >/dev/null &&
    emulated quantize "$checkpoint" --images "$1/small/image_2" --count 4 --out "$artifact" >/dev/null || return
  checkpoints+=("$(digest <"$checkpoint")") sum=$(digest <"$artifact")
  quantized[$sum]=${quantized[$sum]:-$artifact} makers[$sum]+="${makers[$sum]:+, }$2 $3"
  said="checkpoint ${checkpoints[-1]}, artifact $sum"
}

# Every artifact that was made, run wherever the program ran.
crossed() {
  local run target cpu program place sum json said started log
  declare -A expected=()
  log=$(mktemp)
  for run in "${runs[@]}"; do
    read -r target cpu program place <<<"$run"
    emulator "$target" "$cpu"
    started=$SECONDS said=''
    say "# $target, $cpu: ${#quantized[@]} artifacts"
    for sum in "${!quantized[@]}"; do
      if ! json=$(found "${quantized[$sum]}" "$place/small/image_2/000001.png" --score 0); then
        said+="$sum FAILED; " failed=1
      elif [ "$json" != "${expected[$sum]:=$json}" ]; then
        said+="$sum FAILED: finds other things; " failed=1
      else
        said+="$sum: $(count "$json"); "
      fi
    done
    note "$target" "$cpu" "program: artifacts of all" "$said$((SECONDS - started)) s"
  done
  rm -f "$log"
  for sum in "${!makers[@]}"; do say "artifact $sum was made on ${makers[$sum]}"; done
}

for target in "${targets[@]}"; do
  case $target in
    aarch64-unknown-linux-gnu | aarch64-unknown-linux-musl | armv7-unknown-linux-gnueabihf | x86_64-unknown-linux-musl) ;;
    *) fail "no target $target is known here; see --help" 64 ;;
  esac
done
[ -n "$only_check" ] || for target in "${targets[@]}"; do needs "$target"; done
for target in "${targets[@]}"; do
  standard_library "$target"
  if [ -n "$only_check" ]; then
    if check "$target"; then summary=passed; else summary=FAILED failed=1; fi
    note "$target" - check "$summary"
  elif ! build "$target"; then
    note "$target" - build FAILED
    failed=1
  elif [ -n "$only_build" ]; then
    note "$target" - build "$program"
  else
    run_target "$target"
  fi
done
((${#runs[@]} < 2)) || crossed
# same WHAT DIGEST...: a line of the table if they differ.
same() {
  [ "$(printf '%s\n' "${@:2}" | sort -u | wc -l)" -le 1 ] || { note all all "$1" "FAILED: not the same everywhere: ${*:2}"; failed=1; }
}
same picture "${pictures[@]}"
same 'imported checkpoint' "${checkpoints[@]}"
same 'what demo-int8 finds' "${finds[@]}"
same 'what the narrow network finds' "${narrow[@]}"
printf '| target | CPU | what | result |\n|---|---|---|---|\n'
printf '%s\n' "${results[@]}"
exit "$failed"
