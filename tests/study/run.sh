#!/usr/bin/env bash
# The study: the paper's table of results and its calibration experiments on real pictures.
#
#     tests/study/run.sh STEP…      all | record | observers | counts | noise | recipes | tracking | held-out | final
#
# Every step keeps what it made in $WORK (target/study) and makes only what is missing: artifacts there, detections in
# the evaluation's cache, so it can be stopped and called again. One forward pass over the 192 calibration pictures (the
# record) serves every observer and subset. Settings are chosen by what the steps tracking (kitti-tracking-0001) and
# held-out (agreement with fp32 on the pictures of road-calib that nothing was calibrated on) show; road-test is read once,
# by the step final. tests/study/README.md has the results.
#
#     LOOKOUT   the program            [target/release/lookout]
#     SHARED    models and pictures    [../shared]
#     WORK      results                [target/study]
set -euo pipefail
cd "$(dirname "$0")/../.."
LOOKOUT=${LOOKOUT:-target/release/lookout}
SHARED=${SHARED:-../shared}
WORK=${WORK:-target/study}
export LOOKOUT__DETECTOR__THREADS=${LOOKOUT__DETECTOR__THREADS:-1}
CALIB=$SHARED/data/road-calib/image_2
TRACKING=kitti:$SHARED/data/kitti-tracking-0001
TEST=kitti:$SHARED/data/road-test
OBSERVERS="min-max moving-average percentile entropy l2 mse"
# Observers that our recipe is tried with.
CANDIDATES="l2 mse percentile"
mkdir -p "$WORK"

# quantized NAME ARGUMENTS…: makes the artifact NAME unless it is there.
quantized() {
    local name=$1
    shift
    [ -e "$WORK/$name.lookout" ] && return
    echo "quantize $name: $*"
    "$LOOKOUT" quantize "$WORK/road.safetensors" --out "$WORK/part.lookout" --json "$@" >"$WORK/$name.json"
    rm -f "$WORK/part.lookout.calib"
    mv "$WORK/part.lookout.json" "$WORK/$name.lookout.json"
    mv "$WORK/part.lookout" "$WORK/$name.lookout"
}

record() {
    [ -e "$WORK/road.safetensors" ] || "$LOOKOUT" import "$SHARED/models/road-r50-fpn.safetensors" --out "$WORK/road.safetensors"
    if [ ! -e "$WORK/record.calib" ]; then
        "$LOOKOUT" quantize "$WORK/road.safetensors" --images "$CALIB" --count 192 --out "$WORK/all.lookout" --json >"$WORK/all.json"
        mv "$WORK/all.lookout.calib" "$WORK/record.calib"
    fi
}

# From the record alone: ranges only, no bias correction, so that observers and counts differ in nothing else.
observers() {
    record
    local name
    for name in $OBSERVERS; do
        quantized "observer-$name" --record "$WORK/record.calib" --count 64 --observer "$name" --wide 0
    done
}

counts() {
    record
    local count seed
    for count in 1 4 16 64; do
        for seed in 0 1 2; do
            quantized "count-$count-draw-$seed" --record "$WORK/record.calib" --count "$count" --seed "$seed" --observer l2 --wide 0 --allow-unfit
        done
    done
    quantized count-192 --record "$WORK/record.calib" --count 192 --observer l2 --wide 0
}

noise() {
    record
    [ -d "$WORK/noise" ] || python3 tests/study/noise.py "$WORK/noise" 16
    quantized noise --images "$WORK/noise" --count 16 --observer l2 --wide 0 --allow-unfit
}

# The paper's recipe, and ours (biases corrected) with each candidate on the same 64 pictures, then the one that was chosen
# by tracking and held-out on all 192.
recipes() {
    record
    quantized paper --record "$WORK/record.calib" --count 64 --recipe paper --observer l2 --wide 0
    local name
    for name in $CANDIDATES; do
        quantized "ours-$name" --record "$WORK/record.calib" --images "$CALIB" --count 64 --observer "$name" --wide 0
    done
    quantized ours --record "$WORK/record.calib" --images "$CALIB" --count 192 --observer mse --wide 0
    local share
    for share in 15 30; do
        quantized "wide-$share" --record "$WORK/record.calib" --images "$CALIB" --count 64 --wide "$share%"
    done
}

models() {
    local path
    for path in "$@"; do
        [ -e "$path" ] && printf -- '--model\n%s\n' "$path"
    done
}

evaluated() {
    local name=$1 dataset=$2
    shift 2
    mapfile -t chosen < <(models "$@")
    "$LOOKOUT" evaluate "${chosen[@]}" --dataset "$dataset" --class-map tests/study/class-map.toml \
        --cache "$WORK/cache" --out "$WORK/$name" >/dev/null
    cat "$WORK/$name/report.txt"
}

ALL_MODELS=(road.safetensors paper.lookout ours.lookout ours-{l2,mse,percentile}.lookout wide-{15,30}.lookout
    observer-{min-max,moving-average,percentile,entropy,l2,mse}.lookout
    count-{1,4,16,64}-draw-{0,1,2}.lookout count-192.lookout noise.lookout)

tracking() {
    evaluated tracking "$TRACKING" "${ALL_MODELS[@]/#/$WORK/}"
}

# The 128 pictures of road-calib that the 64 leave over, without labels: what counts is the agreement with fp32.
held_out() {
    local picture name
    mkdir -p "$WORK/held-out/image_2" "$WORK/held-out/label_2"
    for picture in "$CALIB"/*; do
        name=$(basename "$picture")
        grep -q "[/\"]$name\"" "$WORK/ours-l2.lookout.json" && continue
        ln -sf "$(realpath "$picture")" "$WORK/held-out/image_2/$name"
        : >"$WORK/held-out/label_2/${name%.*}.txt"
    done
    evaluated held-out-report "kitti:$WORK/held-out" "$WORK"/road.safetensors "$WORK"/paper.lookout \
        "$WORK"/observer-l2.lookout "$WORK"/ours-{l2,mse,percentile}.lookout "$WORK"/wide-{15,30}.lookout
}

final() {
    evaluated road-test "$TEST" "${ALL_MODELS[@]/#/$WORK/}"
}

for step in "${@:-all}"; do
    case $step in
    all) record; observers; counts; noise; recipes; tracking; held_out; final ;;
    held-out) held_out ;;
    record | observers | counts | noise | recipes | tracking | final) "$step" ;;
    *) echo "no step $step; see the head of $0" >&2; exit 64 ;;
    esac
done
