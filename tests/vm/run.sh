#!/usr/bin/env bash
# The daemon on a real Linux: tests/vm/run.sh [unit|cameras|install|setup]...  (all of them without arguments)
#   unit     the unit under systemd: readiness, watchdog, restarts, reloading, stopping, permissions (a minute)
#   cameras  V4L2 devices: formats, unplugging, stalls, two programs on one device, permissions (minutes)
#   install  the commands of systemd/README.md, as they are written, in a machine with cameras (minutes)
#   setup    lookout setup, from a virtual camera to a running service (minutes)
# Needs the lab of ../shared (or $LOOKOUT_SHARED); LOOKOUT names the binary [target/release/lookout]; OUT keeps the
# pictures that cameras were asked for; PARTS chooses parts of cameras and their order, such as "replug formats".
set -euo pipefail
cd "$(dirname "$0")/../.."
shared=${LOOKOUT_SHARED:-../shared}
lab=$shared/lab
[ -x "$lab/nspawn.sh" ] || { echo "skipped: there is no lab at $lab"; exit 0; }
binary=${LOOKOUT:-target/release/lookout}
[ -x "$binary" ] || { echo "build it first: cargo build --release (or name it: LOOKOUT=target/debug/lookout)" >&2; exit 66; }
in=$(mktemp -d); out=${OUT:-$in/out}; trap 'rm -rf "$in"' EXIT
mkdir -p "$out"; rm -f "$out/reference.png"

# The machine gets the program, its unit, a small model, some pictures, the commands of systemd/README.md.
strip -o "$in/lookout" "$binary" 2>/dev/null || cp "$binary" "$in/lookout"
cp systemd/lookout.service config/lookout.toml "$in/"
"$binary" import tests/golden/r18.safetensors --min-size 64 --max-size 96 --out "$in/model.safetensors" >/dev/null
mkdir "$in/pictures"
cp tests/golden/pictures/orientation_1.jpg tests/golden/pictures/rgb.png "$in/pictures/"
cp tests/vm/*.sh "$in/"
# The lines of the sh block in the section of systemd/README.md.
block() { sed -n "/^## $1\$/,/^##* /p" systemd/README.md | sed -n '/^```sh$/,/^```$/p' | grep -v '^```'; }
for name in Install Upgrade Remove; do
  block "$name" > "$in/$name.sh"
  [ -s "$in/$name.sh" ] || { echo "systemd/README.md has no sh block in section $name" >&2; exit 65; }
done

chmod -R a+rX "$in"

# A guest that is given little time miscounts its timer at boot.
export LAB_VM_APPEND=${LAB_VM_APPEND:-no_timer_check}

outcome=0
timed() { local begin=$SECONDS name=$1; shift
  if "$@"; then echo "$name: passed in $((SECONDS - begin)) s"; else echo "$name: FAILED after $((SECONDS - begin)) s"; outcome=1; fi; }
unit() { timed unit bash "$lab/nspawn.sh" run --in "$in" --timeout 300 -- bash /in/unit.sh; }
cameras() { timed cameras bash "$lab/vm.sh" run --in "$in" --out "$out" --timeout 1800 -- bash /in/cameras.sh ${PARTS:-}; }
install() { timed install bash "$lab/vm.sh" run --in "$in" --timeout 900 -- bash /in/install.sh; }

setup() { timed setup bash "$lab/vm.sh" run --in "$in" --timeout 900 -- bash /in/setup.sh; }

[ $# -gt 0 ] || set -- unit cameras install setup
for name in "$@"; do
  case $name in unit|cameras|install|setup) "$name" ;; *) echo "there are unit, cameras, install and setup" >&2; exit 64 ;; esac
done
exit $outcome
