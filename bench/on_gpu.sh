#!/usr/bin/env bash
# Everything that needs a GPU, in one command: the tests that skip without one, then the benches.
#   bench/on_gpu.sh VIDEO [RESULTS_FOLDER]
set -uo pipefail
video=$(realpath "${1:?give a video file or a folder of frames}")
out=$(realpath -m "${2:-bench/results}")
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$out" || exit 1
failed=0
run() {
    local name=$1
    shift
    echo "== $name: $*"
    "$@" 2>&1 | tee "$out/$name.log" | tail -n 40
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
}
gpu() {
    run "$1" python3 "bench/$2.py" --device cuda --video "$video" --json "$out/$1-gpu.json" "${@:3}"
}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"
run tests-kernels python3 -m pytest -q tests/kernels tests/losses
run tests-training python3 -m pytest -q tests/training tests/model
gpu crf_vs_n crf_vs_n
gpu train_step train_step
gpu train_step-deterministic train_step --deterministic on
gpu inference inference
run compile_report python3 bench/compile_report.py --arch 90 --json "$out/compile_report-gpu.json"
exit $failed
