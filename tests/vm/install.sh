#!/bin/bash
# The commands of systemd/README.md as they are written. Runs inside the machine; tests/vm/run.sh puts its files into /in.
set -u
failed=0
check() { local name=$1; shift; if "$@"; then echo "ok    $name"; else echo "FAIL  $name"; failed=1; fi; }
mkdir -p /root/src/target/release /root/src/systemd /root/src/config && cd /root/src || exit 1
cp /in/lookout target/release/; cp /in/lookout.service systemd/; cp /in/lookout.toml config/
cp /in/model.safetensors model.safetensors
export HOME=/root
check "install" bash -e /in/Install.sh
check "it runs" systemctl is-active lookout
check "it is started at boot" systemctl is-enabled lookout
for n in $(seq 100); do lookout status --json 2>/dev/null | grep -q streaming && break; sleep 1; done
check "the camera streams" sh -c 'lookout status --json | grep -q streaming'
lookout status
touch /var/lib/lookout/kept
check "upgrade" bash -e /in/Upgrade.sh
check "it runs again" systemctl is-active lookout
check "state is kept over an upgrade" [ -e /var/lib/lookout/kept ]
check "remove" bash -e /in/Remove.sh
check "it is gone" sh -c '! systemctl is-active lookout && ! command -v lookout'
check "state is kept over a removal" [ -e /var/lib/private/lookout/kept ]
[ $failed = 0 ] || journalctl -u lookout --no-pager -o cat | tail -30
exit $failed
