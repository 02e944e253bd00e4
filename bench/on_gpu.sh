#!/usr/bin/env bash
# shellcheck disable=SC2329 # functions are called by the names of steps
# Everything that needs a GPU: tests, and benchmarks of the CRF terms, of training and of inference.
#
#   bench/on_gpu.sh VIDEO [RESULTS_FOLDER] [STEP ...]      steps: tests crf train inference (all)
#
# VIDEO is a video file or a folder of frames. Where it does not exist, it is looked for below
# $COLOCAM_SHARED, shared/ in the checkout and ../shared (as clips/dog/street.mp4).
#
# Where a GPU is there for half an hour, in runs that are ended after ten minutes, call it three
# times; the time limits of each call add up to less than ten minutes:
#
#   bench/on_gpu.sh VIDEO FOLDER tests crf
#   bench/on_gpu.sh VIDEO FOLDER train
#   bench/on_gpu.sh VIDEO FOLDER inference
#
# tests      the tests that use a GPU: kernels, seeds, activation maps, training steps, DDP over NCCL
# crf        bench/crf_vs_n.py
# train      bench/train_step.py, also with --deterministic on; train.py --compile on
# inference  train.py --compile off; evaluate.py, colocam.localize and bench/localize/file_to_boxes.py (of a
#            video file) with its checkpoint; bench/inference.py, also with --compile on
#
# RESULTS_FOLDER ($OUT where that is set, else bench/results) gets one file for a call,
# on_gpu-STEPS.tar.gz, with every result and log. It is written anew every few seconds and after
# every command, so that it holds what was measured whatever ends the script. LIMIT (seconds, at most
# 280) shortens the time limit of every command. Results name the commit of the checkout; where there
# is none, that in COLOCAM_COMMIT.
set -uom pipefail # m: jobs in groups of their own, which can be interrupted
readonly STEPS="tests crf train inference" MOST=280 PACK_EVERY=5

fail() {
    echo "error: $1" >&2
    exit 2
}

root=$(realpath "$(dirname "$0")/..")
given=${1:-}
[ -n "$given" ] || fail "VIDEO: missing; give a video file or a folder of frames"
video=
for place in "$given" "${COLOCAM_SHARED:-$root/shared}/$given" "$root/shared/$given" \
    "$root/../shared/$given"; do
    [ -e "$place" ] && { video=$(realpath "$place") && break; }
done
[ -n "$video" ] || fail "VIDEO $given: no such file; give a video file or a folder of frames"
shift
out=${OUT:-$root/bench/results}
if [ $# -gt 0 ] && [[ " $STEPS " != *" $1 "* ]]; then # not a step: the folder
    out=${1:-$out}
    shift
fi
steps=("$@")
[ ${#steps[@]} -gt 0 ] || read -ra steps <<<"$STEPS"
for step in "${steps[@]}"; do
    [[ " $STEPS " == *" $step "* ]] || fail "$step: no such step; there are ${STEPS// /, }"
done
limit=${LIMIT:-$MOST}
[[ $limit =~ ^[1-9][0-9]*$ ]] || fail "LIMIT $limit: must be a number of seconds"
[ "$limit" -le $MOST ] || limit=$MOST
mkdir -p "$out" || fail "$out: cannot be made"
out=$(realpath "$out")
call=on_gpu-$(IFS=-; echo "${steps[*]}")
[ ${#steps[@]} -lt 4 ] || call=on_gpu
archive=$out/$call.tar.gz
work=$(mktemp -d)
results=$work/$call
mkdir "$results"
cd "$root" || exit 1
export PYTHONUNBUFFERED=1 PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
failed=0 job=

pack() { # the archive is replaced in one step, so that it is complete at any time
    local unfinished=$work/$BASHPID.tar.gz beside=$out/.$call-$BASHPID
    # Files may grow meanwhile: status 1. Checkpoints are too large to be carried away.
    tar -czf "$unfinished" --exclude=checkpoints -C "$work" "$call" 2>/dev/null
    cp "$unfinished" "$beside" && mv "$beside" "$archive"
}

pack_while_running() { # also after this script was killed, for the last rows
    while sleep $PACK_EVERY && kill -0 $$ 2>/dev/null; do pack; done
    pack
}

finish() {
    kill -- -"$packer" 2>/dev/null
    wait "$packer" 2>/dev/null
    rm -f "$out/.$call-"*
    pack
    rm -rf "$work"
    echo "results: $archive"
}

end() { # a signal ends the command that runs, then the script
    [ -z "$job" ] || { kill -"$1" -- -"$job" 2>/dev/null && wait "$job"; }
    exit $((128 + $2))
}

run() { # NAME SECONDS COMMAND ...
    local name=$1 seconds=$(($2 < limit ? $2 : limit))
    shift 2
    echo "== $name (at most $seconds s): $*"
    exec 3> >(exec tee -i "$results/$name.log")
    local copier=$!
    timeout --signal INT --kill-after 5 "$seconds" "$@" >&3 2>&1 3>&- &
    job=$!
    exec 3>&-
    wait "$job"
    local status=$?
    job=
    for _ in {1..20}; do # processes that outlive the command may hold the log open
        kill -0 "$copier" 2>/dev/null && sleep 0.1
    done
    [ "$status" -eq 0 ] || { failed=1 && echo "== $name: exit status $status"; }
    pack
}

bench() { # NAME SECONDS SCRIPT ...
    run "$1" "$2" python3 "bench/$3.py" --device cuda --video "$video" \
        --json "$results/$1-gpu.json" "${@:4}"
}

tests() {
    local workers=()
    timeout 20 python3 -c "import xdist" 2>/dev/null && workers=(-n 8 --dist worksteal)
    OMP_NUM_THREADS=1 run tests 200 python3 -m pytest -vv -m gpu --durations 10 \
        --continue-on-collection-errors "${workers[@]}" tests/kernels tests/test_seeds.py \
        tests/cam tests/training tests/data/decoding
}

crf() {
    bench crf_vs_n 260 crf_vs_n
}

smoke() { # NAME SECONDS ARGUMENT ...: a short training of both stages
    run "$1" "$2" python3 train.py --preset smoke --device cuda --out "$results/$1" "${@:3}"
}

train() {
    bench train_step 200 train_step --seconds 20
    bench train_step-deterministic 100 train_step --seconds 20 --deterministic on
    smoke smoke-compiled 150 --compile on
}

inference() {
    smoke smoke 80 --compile off
    local ckpt=$results/smoke/checkpoints/localizer-best.safetensors
    run evaluate 40 python3 evaluate.py --ckpt "$ckpt" --device cuda --clip-set small \
        --json "$results/evaluate.json"
    run localize 40 python3 -m colocam.localize "$video" --ckpt "$ckpt" --device cuda \
        --overlay off --out "$results/localize"
    if [ -f "$video" ]; then
        run file_to_boxes 40 python3 bench/localize/file_to_boxes.py --video "$video" --ckpt "$ckpt" \
            --device cuda --json "$results/file_to_boxes-gpu.json"
        run file_to_boxes-decoder 30 python3 bench/localize/file_to_boxes.py --video "$video" \
            --ckpt "$ckpt" --device cuda --decoder gpu \
            --json "$results/file_to_boxes-decoder-gpu.json"
    fi
    bench inference 115 inference --seconds 0.5
    bench inference-compiled 125 inference --seconds 0.5 --compile on --batch-sizes 1 32 \
        --methods localizer layercam
}

pack_while_running &
packer=$!
trap finish EXIT
trap 'end INT 2' INT
trap 'end TERM 15' TERM

echo "clip: $video"
timeout 30 python3 -c "import colocam.kernels" 2>"$results/install.log" ||
    timeout 30 python3 -m pip install -q --no-deps --no-build-isolation -e . 2>&1 |
    tee -a "$results/install.log"
timeout 10 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader |
    tee "$results/gpu.txt"
for step in "${steps[@]}"; do "$step"; done
exit $failed
