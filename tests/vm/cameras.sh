#!/bin/bash
# Real V4L2 devices: the kernel's virtual camera (vivid) and JPEG through v4l2loopback. Runs inside the machine;
# tests/vm/run.sh puts what it needs into /in. Prints one line a check; exits 1 if one failed. Pictures go to /out.
# Arguments choose parts and their order: listing formats streaming sharing replug permission jpeg stream planes.
set -u
failed=0
check() { local name=$1; shift; if "$@"; then echo "ok    $name"; else echo "FAIL  $name"; failed=1; fi; }
# Not SECONDS: the wall clock is set while this runs.
now() { local up _; read -r up _ < /proc/uptime; echo "${up%.*}"; }
soon() { # soon COMMAND...: the command succeeds within 90 s
  local end=$(($(now) + 90))
  while [ "$(now)" -lt $end ]; do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
  return 1
}
install -D -m 755 /in/lookout /usr/local/bin/lookout
export HOME=/root RUNTIME_DIRECTORY=/run/lookout-test STATE_DIRECTORY=/var/tmp/lookout
mkdir -p $RUNTIME_DIRECTORY $STATE_DIRECTORY
video=/dev/video0
path=$(ls /dev/v4l/by-path/*vivid* | head -n 1)

state() { lookout status --json 2>/dev/null | sed -n 's/.*"front":{"dropped":{[^}]*},"fps":[^,]*,"state":"\([a-z]*\)".*/\1/p'; }
is() { [ "$(state)" = "$1" ]; }
says() { grep -q "$1" /tmp/log; }
told() { [ "$(grep -c "\"event\":\"$1\"" /tmp/out)" = "$2" ]; }
reports() { grep -c '"type":"report"' /tmp/out; }
held() { echo "$(ls /proc/$pid/fd | wc -l) descriptors, $(sed -n 's/VmRSS:[^0-9]*//p' /proc/$pid/status)"; }
descriptors() { ls /proc/$pid/fd | wc -l; }
# start LINES: the daemon with one camera that these lines describe
start() {
  { printf '[model]\ncheckpoint = "/in/model.safetensors"\n[detector]\nthreads = 1\n[supervision]\nstall_timeout = "4s"\n'
    printf '[[publish]]\nkind = "stdout"\nmessages = ["report", "event"]\n[[camera]]\nname = "front"\n%s\n' "$1"; } > /tmp/lookout.toml
  ${AS:-} lookout run --config /tmp/lookout.toml >/tmp/out 2>/tmp/log & pid=$!
}
stop() { kill -TERM $pid; wait $pid; }
like() { # like PICTURE REFERENCE FILTER DB: how much two pictures are alike below the changing text
  local db
  db=$(ffmpeg -v info -i "$1" -i "$2" -lavfi "[0:v]$3,crop=iw:ih/2:0:ih/2[a];[1:v]$3,crop=iw:ih/2:0:ih/2[b];[a][b]psnr" -f null - 2>&1 |
    sed -n 's/.*average:\([0-9a-z]*\).*/\1/p')
  echo "      $(basename "$1"): $db dB"
  [ "$db" = inf ] || [ "${db:-0}" -ge "$4" ]
}
reference() { # a picture taken by another program, without colours converted
  [ ! -e /out/reference.png ] || return 0
  v4l2-ctl -d $video --set-fmt-video=width=640,height=360,pixelformat=RGB3 --stream-mmap --stream-count=5 --stream-to=/tmp/raw >/dev/null 2>&1
  tail -c 691200 /tmp/raw > /tmp/last
  ffmpeg -v error -y -f rawvideo -pix_fmt rgb24 -s 640x360 -i /tmp/last /out/reference.png </dev/null
}
picture() { lookout cameras "$video" --picture "/out/$1.png" --format "$1" --width 640 --height 360 > /tmp/said && grep -q "640×360, $1\$" /tmp/said; }


listing() {
  echo "-- listing"
  lookout cameras $video
  check "lists the lasting name of the device" sh -c "lookout cameras | grep -q '$path'"
  check "and its card and bus" sh -c "lookout cameras --json | grep -q 'vivid@platform:vivid-000'"
  check "not a video device: exit 69" [ "$(lookout cameras /dev/null >/dev/null 2>&1; echo $?)" = 69 ]
  check "not there: exit 66" [ "$(lookout cameras /dev/video77 >/dev/null 2>&1; echo $?)" = 66 ]
  check "permission denied: exit 77" [ "$(runuser -u nobody -- lookout cameras $video >/dev/null 2>/tmp/said; echo $?)" = 77 ]
  check "and what to do about it" grep -q 'group video' /tmp/said
}

formats() {
  echo "-- formats"
  reference
  for format in RGB3 BGR3 YUYV UYVY NV12 NV21 YU12 422P GREY; do
    check "$format is read" picture $format
    case $format in RGB3|BGR3) db=60 ;; *) db=24 ;; esac
    filter=format=gbrp; [ $format != GREY ] || filter=format=gray
    check "$format shows what the driver drew" like /out/$format.png /out/reference.png $filter $db </dev/null
  done
}

streaming() {
  echo "-- streaming"
  start "kind = \"v4l2\"
  device = \"$path\"
  format = \"YUYV\"
  width = 640
  height = 360
  rotate = 90
  controls = { brightness = 99 }"
  check "frames come" soon is streaming
  check "and reports" soon eval '[ "$(reports)" -ge 3 ]'
  check "in the turned frame" grep -q '"width":360,"height":640' /tmp/out
  check "the log says what the driver gave" says 'camera opened.*format="YUYV" width=640 height=360'
  check "the control is set" sh -c "v4l2-ctl -d $video --get-ctrl brightness | grep -q ' 99\$'"
  check "a lasting name warns of nothing" eval '! says "named by its number"'
  v4l2-ctl -d $video --set-ctrl inject_v4l2_buf_flag_error=1 2>/dev/null ||
    v4l2-ctl -d $video --list-ctrls | grep -i inject
  soon eval 'lookout status --json | grep -q "\"corrupt\":"'
  check "a frame that the driver marks as damaged is counted" sh -c 'lookout status --json | grep -q "\"corrupt\":"'
  v4l2-ctl -d $video --set-ctrl percentage_of_dropped_buffers=100
  check "no frames: stalled" soon is stalled
  check "and then opened again" soon is backoff
  v4l2-ctl -d $video --set-ctrl percentage_of_dropped_buffers=0
  check "frames again: streaming" soon is streaming
  uptime=$(lookout status --json | sed -n 's/.*"uptime_s":\([0-9]*\).*/\1/p')
  date -s '1970-01-02 00:00:10' >/dev/null; sleep 3; date -s '2031-05-05 05:05:05' >/dev/null; sleep 3
  later=$(lookout status --json | sed -n 's/.*"uptime_s":\([0-9]*\).*/\1/p')
  check "the wall clock jumps and nothing happens" eval 'is streaming && [ $((later - uptime)) -lt 60 ]'
  check "a second daemon is refused: exit 69" [ "$(lookout run --config /tmp/lookout.toml >/dev/null 2>&1; echo $?)" = 69 ]
  check "the device is busy for others: exit 69" [ "$(lookout cameras $video >/dev/null 2>/tmp/said; echo $?)" = 69 ]
  check "and it says who has it" grep -q "busy.*lookout (process $pid)" /tmp/said
  check "it stops in order" stop

  start "kind = \"v4l2\"
  device = \"$video\"
  controls = { brightnes = 1 }"
  check "a bare number warns" soon says 'named by its number'
  check "a control that is not there: the right ones are listed" soon says 'brightnes.*brightness'
  stop
}

sharing() {
  echo "-- two programs, one device"
  v4l2-ctl -d $video --stream-mmap >/dev/null 2>&1 & other=$!
  sleep 2
  start "kind = \"v4l2\"
  device = \"vivid\""
  check "busy: backing off" soon is backoff
  check "and the log says who has it" says "busy: another program uses this camera: v4l2-ctl (process $other)"
  kill $other; wait $other 2>/dev/null
  check "free again: streaming" soon is streaming
  stop
}

replug() {
  echo "-- unplugged and plugged in again, 20 times"
  start "kind = \"v4l2\"
  device = \"vivid\""
  check "it streams" soon is streaming
  before=$(descriptors); echo "      before: $(held)"
  ok=0; begin=$(now)
  for n in $(seq 20); do
    [ $((n % 5)) != 0 ] || v4l2-ctl -d $video --set-ctrl disconnect=1 2>/dev/null
    echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
    soon is backoff || { echo "      $n: $(state) after unplugging"; continue; }
    [ $((n % 2)) = 0 ] || sleep 1
    if [ $n = 7 ]; then
      spent() { awk '{print $14 + $15}' /proc/$pid/stat; }
      # The last frame may still be in work.
      sleep 10; a=$(spent); sleep 5; ticks=$(($(spent) - a)); echo "      CPU while unplugged: $ticks ticks of 500"
      check "an unplugged camera costs no CPU" [ $ticks -lt 75 ]
    fi
    echo vivid.0 > /sys/bus/platform/drivers/vivid/bind
    soon is streaming || { echo "      $n: $(state) after plugging in"; continue; }
    ok=$((ok + 1))
  done
  echo "      after $(($(now) - begin)) s: $(held)"
  check "20 of 20 times it came back" [ $ok = 20 ]
  check "each loss was told once" soon told camera.lost 20
  check "each return was told once" soon told camera.found 21
  check "no descriptor leaked" [ "$(descriptors)" -le $before ]
  check "the same process all along" kill -0 $pid
  stop
}

permission() {
  echo "-- permission denied"
  local RUNTIME_DIRECTORY=/run/lookout-nobody
  install -d -o nobody $RUNTIME_DIRECTORY
  AS="runuser -u nobody --" start "kind = \"v4l2\"
  device = \"$video\""
  check "it stays up and backs off" soon says 'camera lost.*permission denied'
  kill -TERM $pid; wait $pid
}

jpeg() {
  echo "-- JPEG"
  ffmpeg -v error -re -f lavfi -i testsrc=size=640x360:rate=10 -c:v mjpeg -q:v 3 -f v4l2 /dev/video10 </dev/null >/tmp/ffmpeg 2>&1 & feed=$!
  sleep 5
  local video=/dev/video10
  check "MJPG is read" soon picture MJPG
  start "kind = \"v4l2\"
  device = \"/dev/video10\"
  format = \"MJPG\""
  check "and streams" soon is streaming
  check "as MJPG" says 'camera opened.*format="MJPG"'
  check "reports come" soon eval '[ "$(reports)" -ge 3 ]'
  check "none was refused" eval '! says "cannot be decoded"'
  kill $feed; wait $feed 2>/dev/null
  check "the feeding program ends: the camera is not streaming" soon eval '! is streaming'
  stop
}

stream() {
  echo "-- a stream through ffmpeg"
  ffmpeg -v error -f lavfi -i testsrc=size=640x360:rate=10:duration=60 -c:v mjpeg -q:v 3 /tmp/film.avi </dev/null
  start 'kind = "ffmpeg"
  input = "/tmp/film.avi"'
  check "it streams" soon is streaming
  check "reports come" soon eval '[ "$(reports)" -ge 2 ]'
  child=$(pgrep -P $pid ffmpeg)
  kill -KILL "$child"
  check "a killed child is started again" soon eval 'pgrep -P $pid ffmpeg | grep -qvx "$child"'
  stop
  check "and ends with the daemon" eval '! pgrep -x ffmpeg'
}

planes() {
  echo "-- several planes"
  reference
  modprobe -r vivid; modprobe vivid n_devs=1 node_types=0x101 multiplanar=2; udevadm settle
  local video
  video=$(v4l2-ctl --list-devices 2>/dev/null | sed -n '/vivid/,/^$/p' | grep -m1 -o '/dev/video[0-9]*')
  for format in NM12 YM12 YUYV NV12 RGB3; do
    check "$format is read" picture $format
    db=24; [ $format != RGB3 ] || db=60
    check "$format shows what the driver drew" like /out/$format.png /out/reference.png format=gbrp $db </dev/null
  done
  output=$(v4l2-ctl --list-devices 2>/dev/null | sed -n '/vivid/,/^$/p' | grep -o '/dev/video[0-9]*' | sed -n 2p)
  lookout cameras "$output" >/dev/null 2>/tmp/said
  check "an output is no camera, and it says so" grep -q 'not a capture device' /tmp/said
  modprobe -r vivid; modprobe vivid n_devs=1 node_types=0x1; udevadm settle
}

[ $# -gt 0 ] || set -- listing formats streaming sharing replug permission jpeg stream planes
for part in "$@"; do "$part"; done
[ $failed = 0 ] || { echo "-- the last log"; tail -20 /tmp/log; }
exit $failed
