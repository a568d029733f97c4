#!/bin/bash
# The unit as systemd runs it. Runs inside the booted system; tests/vm/run.sh puts what it needs into /in:
# lookout, lookout.service, model.safetensors, pictures/. Prints one line a check; exits 1 if one failed.
set -u
failed=0
pid() { systemctl show -p MainPID --value lookout; }
show() { systemctl show -p "$1" --value lookout; }
check() { # check NAME COMMAND...: passes if the command does
  local name=$1; shift
  if "$@"; then echo "ok    $name"; else echo "FAIL  $name"; failed=1; fi
}
soon() { # soon COMMAND...: the command succeeds within 30 s
  local n; for n in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; return 1
}
is() { [ "$(show "$1")" = "$2" ]; }
says() { lookout status --json | grep -q "$1"; }
line() { show StatusText | grep -q "$1"; }
restarted() { [ "$(show NRestarts)" -gt "$1" ] && is ActiveState active; }
journal() { journalctl -u lookout --no-pager | grep -qi "$1"; }

install -D -m 755 /in/lookout /usr/local/bin/lookout
install -D -m 644 /in/model.safetensors /usr/local/share/lookout/model.safetensors
install -D -m 644 /in/lookout.service /etc/systemd/system/lookout.service
mkdir -p /etc/lookout /srv/pictures /etc/systemd/system/lookout.service.d
cp /in/pictures/* /srv/pictures/
cat > /etc/lookout/lookout.toml <<'END'
[model]
checkpoint = "/usr/local/share/lookout/model.safetensors"
[detector]
threads = 1
[[camera]]
name = "front"
kind = "replay"
path = "/srv/pictures"
loop = true
rate = 5.0
[[publish]]
kind = "unix"
path = "/run/lookout/reports.sock"
END
cp /etc/lookout/lookout.toml /srv/right.toml
# A stuck process is to be noticed while somebody watches.
printf '[Service]\nWatchdogSec=3s\nRestartSec=200ms\n' > /etc/systemd/system/lookout.service.d/fast.conf
systemctl daemon-reload

check "exposure to the rest of the system is at most 1.7 of 10" \
  sh -c 'systemd-analyze security --offline=true --threshold=17 --no-pager /etc/systemd/system/lookout.service > /tmp/exposure'
tail -n 1 /tmp/exposure
check "READY: start returns when the service is up" systemctl start lookout
check "STATUS says how it is" soon line '^ok; 1 of 1 cameras'
echo "      $(journalctl -u lookout --no-pager -o cat | grep -m1 ready)"
check "it runs as a user of its own" [ "$(stat -c %U /proc/"$(pid)")" != root ]
check "the control socket answers root" says '"state":"ok"'
check "and nobody else: exit 77" [ "$(runuser -u nobody -- lookout status >/dev/null 2>&1; echo $?)" = 77 ]
check "a second daemon is refused: exit 69" [ "$(RUNTIME_DIRECTORY=/run/lookout lookout run >/dev/null 2>&1; echo $?)" = 69 ]
sleep 4
check "the watchdog is fed: nothing was restarted" is NRestarts 0

n=$(show NRestarts); kill -STOP "$(pid)"
check "a stuck process: the watchdog ends it and it is started again" soon restarted "$n"
check "the journal tells of the watchdog" journal 'watchdog timeout'

n=$(show NRestarts); kill -KILL "$(pid)"
check "SIGKILL: it is started again" soon restarted "$n"
check "the socket left behind is replaced" soon says '"state":"ok"'

before=$(pid)
version=$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
if [ "$version" -ge 253 ]; then type=notify-reload; else type=notify; fi
check "systemd $version runs it as $type" is Type "$type"
sed -i 's/"front"/"back"/' /etc/lookout/lookout.toml
check "reload with a good configuration" systemctl reload lookout
check "it is in force when the command returns" says '"back":{"'
printf '[track]\nconfirm = 3\n' >> /etc/lookout/lookout.toml
sed -i 's/"back"/"side"/' /etc/lookout/lookout.toml
check "reload that needs a new run" systemctl reload lookout
check "the new run is up when the command returns" says '"state":"ok"'
check "with the new configuration" says '"side":{"'
sed -i 's/"side"/"back"/; /^\[track\]\|^confirm/d' /etc/lookout/lookout.toml
kill -HUP "$(pid)"
check "SIGHUP" soon says '"back":{"'
for n in 1 2 3 4 5; do
  sed -i "s/^name = .*/name = \"many-$n\"/" /etc/lookout/lookout.toml
  systemctl reload lookout & kill -HUP "$(pid)"; lookout reload >/dev/null &
done
wait
check "many at once: the last one counts" soon says '"many-5":{"'
check "and systemd does not wait for another" soon is ActiveState active
sed -i 's/"many-5"/"back"/' /etc/lookout/lookout.toml
check "reload once more" systemctl reload lookout
echo nonsense > /etc/lookout/lookout.toml
check "reload with a bad one fails" sh -c '! systemctl reload lookout 2>/dev/null'
check "degraded, with the reason" soon line 'degraded: the new configuration is refused'
check "and the service is up" is ActiveState active
check "and the old one goes on" says '"back":{"dropped"'
check "lookout reload says why: exit 78" [ "$(lookout reload >/dev/null 2>&1; echo $?)" = 78 ]
cp /srv/right.toml /etc/lookout/lookout.toml
check "a right one again: ok" lookout reload
check "in the same process" [ "$(pid)" = "$before" ]
check "STATUS is ok again" soon line '^ok;'

check "doctor finds nothing bad" lookout doctor

ffmpeg -v error -f lavfi -i testsrc=size=64x48:rate=5:duration=600 -c:v mjpeg /srv/film.avi </dev/null
sed -i 's/"replay"/"ffmpeg"/; s/^path = "\/srv.*/input = "\/srv\/film.avi"/; /^loop\|^rate/d' /etc/lookout/lookout.toml
check "ffmpeg runs inside the unit" lookout reload
check "and its frames come" soon says '"state":"streaming"'
check "and it is ffmpeg" pgrep -P "$(pid)" -x ffmpeg
cp /srv/right.toml /etc/lookout/lookout.toml
lookout reload >/dev/null
check "the state directory is there" [ -d /var/lib/lookout ]
touch /var/lib/lookout/kept
check "SIGTERM: stops in order" systemctl stop lookout
check "with exit code 0" is ExecMainStatus 0
check "and Result=success" is Result success

chmod 600 /usr/local/share/lookout/model.safetensors
systemctl start lookout 2>/dev/null
check "a model it may not read: exit 77" soon is ExecMainStatus 77
systemctl stop lookout; systemctl reset-failed lookout 2>/dev/null; chmod 644 /usr/local/share/lookout/model.safetensors
echo nonsense > /etc/lookout/lookout.toml
systemctl start lookout 2>/dev/null
check "a bad configuration at start: exit 78" soon is ExecMainStatus 78
sleep 1
check "and no restart" is ActiveState failed

cp /srv/right.toml /etc/lookout/lookout.toml
install -m 755 /in/lookout /usr/local/bin/lookout.new && mv /usr/local/bin/lookout.new /usr/local/bin/lookout
systemctl reset-failed lookout
check "it starts after an upgrade" systemctl start lookout
check "state is kept" [ -e /var/lib/lookout/kept ]
[ $failed = 0 ] || journalctl -u lookout --no-pager -o cat | tail -40
exit $failed
