#!/usr/bin/env bash
# The study: the paper's table of results and its calibration experiments on real pictures.
#
#     tests/study/run.sh STEP…      all | record | observers | counts | noise | recipes | techniques | choice |
#                                   tracking | held-out | street | final
#
# Every step keeps what it made in $WORK (target/study) and makes only what is missing: artifacts there, detections in
# the evaluation's cache, so it can be stopped and called again. One forward pass over the 192 calibration pictures (a
# record) serves every observer and subset; there are two, with equalized channels and without. Settings are chosen by
# what the steps tracking (kitti-tracking-0001) and held-out (agreement with fp32 on the pictures of road-calib that
# nothing was calibrated on) show; road-test is read once, by the step final. tests/study/README.md has the results.
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
# Pictures of the synthetic street that judge the built-in network.
STREET_PICTURES=${STREET_PICTURES:-1000}
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
    "$LOOKOUT" quantize "${MODEL:-$WORK/road.safetensors}" --out "$WORK/part.lookout" --json "$@" >"$WORK/$name.json"
    rm -f "$WORK/part.lookout.calib"
    mv "$WORK/part.lookout.json" "$WORK/$name.lookout.json"
    mv "$WORK/part.lookout" "$WORK/$name.lookout"
}

record() {
    [ -e "$WORK/road.safetensors" ] || "$LOOKOUT" import "$SHARED/models/road-r50-fpn.safetensors" --out "$WORK/road.safetensors"
    local name
    for name in record equalized; do
        [ -e "$WORK/$name.calib" ] && continue
        "$LOOKOUT" quantize "$WORK/road.safetensors" --images "$CALIB" --count 192 --wide 0 \
            --equalize "$([ $name = equalized ] && echo true || echo false)" --out "$WORK/all.lookout" --json >"$WORK/all.json"
        mv "$WORK/all.lookout.calib" "$WORK/$name.calib"
    done
}

# From the record alone: ranges only, no bias correction, so that observers and counts differ in nothing else.
observers() {
    record
    local name
    for name in $OBSERVERS; do
        quantized "observer-$name" --record "$WORK/record.calib" --count 64 --observer "$name" \
            --equalize false --wide 0
    done
}

# draws NAME COUNTS ARGUMENTS…: three draws of each number of pictures.
draws() {
    local name=$1 counts=$2 count seed
    shift 2
    for count in $counts; do
        for seed in 0 1 2; do
            quantized "$name-$count-draw-$seed" --count "$count" --seed "$seed" --wide 0 --allow-unfit "$@"
        done
    done
}

counts() {
    record
    draws count "1 4 16 64" --record "$WORK/record.calib" --observer l2 --equalize false
    quantized count-192 --record "$WORK/record.calib" --count 192 --observer l2 --equalize false --wide 0
}

noise() {
    record
    [ -d "$WORK/noise" ] || python3 tests/study/noise.py "$WORK/noise" 16
    quantized noise --images "$WORK/noise" --count 16 --observer l2 --equalize false --wide 0 --allow-unfit
}

# The paper's recipe, and ours (biases corrected) with each candidate on the same 64 pictures, then mse on all 192.
recipes() {
    record
    quantized paper --record "$WORK/record.calib" --count 64 --recipe paper --observer l2 --wide 0
    local name
    for name in $CANDIDATES; do
        quantized "ours-$name" --record "$WORK/record.calib" --images "$CALIB" --observer "$name" --equalize false --wide 0
    done
    quantized ours --record "$WORK/record.calib" --images "$CALIB" --count 192 --observer mse --equalize false --wide 0
}

# Equalized channels and parts of two bytes, alone and together, on the same 64 pictures. The default is default-15.
techniques() {
    record
    local name share
    for name in l2 mse; do
        quantized "equalized-$name" --record "$WORK/equalized.calib" --images "$CALIB" --observer "$name" --wide 0
    done
    quantized "wide-15" --record "$WORK/record.calib" --images "$CALIB" --equalize false
    for share in 15 30; do
        quantized "default-$share" --record "$WORK/equalized.calib" --images "$CALIB" --wide "$share%"
    done
}

# Pictures that a hash chooses (three draws), and those that are most like all, with everything else as by default.
choice() {
    record
    draws random "8 16 32 64" --record "$WORK/equalized.calib" --images "$CALIB"
    local count
    for count in 8 16 32 64; do
        quantized "chosen-$count" --record "$WORK/equalized.calib" --images "$CALIB" --count "$count" --choose --wide 0 \
            --allow-unfit
    done
    quantized chosen-192 --record "$WORK/equalized.calib" --images "$CALIB" --count 192 --wide 0
}

# The built-in network on the synthetic street, judged on scenes by day of other seeds.
street() {
    local name
    [ -d "$WORK/street" ] || "$LOOKOUT" pattern --export "$WORK/street" --count $STREET_PICTURES \
        --scenes $((STREET_PICTURES / 2)) --step 40 --seed 3000000
    [ -d "$WORK/street-calib" ] || "$LOOKOUT" pattern --export "$WORK/street-calib" --count 128 --scenes 128 --seed 1000000
    for name in l2:false:0 mse:false:0 mse:true:0 mse:true:15% mse:true:30%; do
        local parts
        IFS=: read -ra parts <<<"$name"
        MODEL=src/detector/demo/street.checkpoint quantized "street-${parts[0]}-${parts[1]}-${parts[2]%\%}" \
            --images "$WORK/street-calib/image_2" --observer "${parts[0]}" --equalize "${parts[1]}" --wide "${parts[2]}"
    done
    cp -n src/detector/demo/street.checkpoint "$WORK/street.safetensors"
    evaluated street-report "kitti:$WORK/street" "$WORK/street.safetensors" \
        "$WORK"/street-{l2-false-0,mse-false-0,mse-true-0,mse-true-15,mse-true-30}.lookout
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

ALL_MODELS=(road.safetensors paper.lookout ours.lookout ours-{l2,mse,percentile}.lookout equalized-{l2,mse}.lookout wide-15.lookout
    default-{15,30}.lookout random-{8,16,32,64}-draw-{0,1,2}.lookout chosen-{8,16,32,64,192}.lookout
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
        "$WORK"/observer-l2.lookout "$WORK"/ours-{l2,mse,percentile}.lookout "$WORK"/equalized-{l2,mse}.lookout \
        "$WORK"/wide-15.lookout "$WORK"/default-{15,30}.lookout
}

final() {
    evaluated road-test "$TEST" "${ALL_MODELS[@]/#/$WORK/}"
}

for step in "${@:-all}"; do
    case $step in
    all) record; observers; counts; noise; recipes; techniques; choice; tracking; held_out; street; final ;;
    held-out) held_out ;;
    record | observers | counts | noise | recipes | techniques | choice | tracking | street | final) "$step" ;;
    *) echo "no step $step; see the head of $0" >&2; exit 64 ;;
    esac
done
