#!/bin/bash
# `lookout setup` from a virtual camera to a running service. Runs inside the machine; tests/vm/run.sh puts its files into
# /in.
set -u
failed=0
check() { local name=$1; shift; if "$@"; then echo "ok    $name"; else echo "FAIL  $name"; failed=1; fi; }
export HOME=/root
cd /root || exit 1
install -m 755 /in/lookout /usr/local/bin/lookout
install -D -m 644 /in/model.safetensors /usr/local/share/lookout/model.safetensors
install -D -m 644 /in/lookout.service /etc/systemd/system/lookout.service
getent group video > /dev/null || groupadd --system video
# The unit reads the configuration all the same.
umask 077
printf 'correct horse' > /root/secret
lookout cameras

refused() { lookout setup --config-dir /etc/lookout < /dev/null 2>&1 | grep 'no terminal'; }
check "without a terminal the options are named" refused
# Two devices can be used or not, by the driver; so the camera is named.
setup() {
  lookout setup --yes --camera /dev/video0 --size 640x360 --picture /root/seen.jpg --broker broker.example \
      --broker-user camera --broker-password-file /root/secret "$@"
}
check "set up" setup
check "there is a test picture" [ -s /root/seen.jpg ]
check "it runs" systemctl is-active lookout
check "it is started at boot" systemctl is-enabled lookout
for n in $(seq 100); do lookout status --json 2>/dev/null | grep -q streaming && break; sleep 1; done
check "the camera streams" sh -c 'lookout status --json | grep -q streaming'
check "the model of the board is used" grep -q 'checkpoint = "/usr/local/share/lookout/model.safetensors"' \
    /etc/lookout/conf.d/setup-model.toml
check "the unit has the password" grep -q 'correct horse' /run/credentials/lookout.service/mqtt-password
check "no password is in the configuration" sh -c '! grep -r "correct horse" /etc/lookout /etc/systemd'
check "the configuration is valid, without a warning" sh -c 'lookout check-config > /tmp/checked 2>&1 && [ ! -s /tmp/checked ]'
cat /tmp/checked
# The camera is in use now.
setup 2> /root/again && failed=1
check "a camera in use is refused" grep -E 'busy|in use' /root/again
cat /root/again
lookout status
[ $failed = 0 ] || journalctl -u lookout --no-pager -o cat | tail -30
exit $failed
