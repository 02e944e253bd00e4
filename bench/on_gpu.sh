#!/usr/bin/env bash
# Everything that needs a GPU, in one command: the tests that skip without one, then the benches.
#   bench/on_gpu.sh VIDEO [RESULTS_FOLDER]
set -uo pipefail
video=$(realpath "${1:?give a video file or a folder of frames}")
out=$(realpath -m "${2:-bench/results}")
cd "$(dirname "$0")/.."
mkdir -p "$out"
failed=0
run() {
    local name=$1
    shift
    echo "== $name: $*"
    "$@" 2>&1 | tee "$out/$name.log" | tail -n 40
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"
run tests-kernels python3 -m pytest -q tests/kernels tests/losses
run crf_vs_n python3 bench/crf_vs_n.py --device cuda --video "$video" --json "$out/crf_vs_n-gpu.json"
run compile_report python3 bench/compile_report.py --arch 90 --json "$out/compile_report-gpu.json"
exit $failed
