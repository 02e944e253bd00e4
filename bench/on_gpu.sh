#!/usr/bin/env bash
# Everything that needs a GPU, in one command: the tests that use one, then the benches.
#   bench/on_gpu.sh VIDEO [RESULTS_FOLDER] [STEP ...]      steps: tests crf train inference (all)
# A step that takes longer than LIMIT seconds (1200) is ended, and the next one begins. Results name
# the commit of the checkout; where there is none, COLOCAM_COMMIT.
set -uo pipefail
if [ ! -e "${1:-}" ]; then
    echo "error: VIDEO ${1:-(none)}: no such file; give a video file or a folder of frames" >&2
    exit 2
fi
video=$(realpath "$1")
out=$(realpath -m "${2:-bench/results}")
steps=("${@:3}")
[ ${#steps[@]} -gt 0 ] || steps=(tests crf train inference)
for step in "${steps[@]}"; do
    case $step in
        tests | crf | train | inference) ;;
        *)
            echo "error: $step: no such step; there are tests, crf, train and inference" >&2
            exit 2
            ;;
    esac
done
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$out" || exit 1
export PYTHONUNBUFFERED=1
failed=0
run() {
    local name=$1
    shift
    echo "== $name: $*"
    timeout --signal INT --kill-after 10 "${LIMIT:-1200}" "$@" 2>&1 | tee "$out/$name.log" | tail -n 40
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || { failed=1; echo "== $name: exit status $status"; }
}
gpu() {
    run "$1" python3 "bench/$2.py" --device cuda --video "$video" --json "$out/$1-gpu.json" "${@:3}"
}
python3 -c "import colocam.kernels" 2>"$out/install.log" ||
    python3 -m pip install -q --no-deps --no-build-isolation -e . 2>&1 | tee -a "$out/install.log"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"
for step in "${steps[@]}"; do
    case $step in
        tests)
            OMP_NUM_THREADS=1 run tests python3 -m pytest -q -n 8 --dist loadfile tests/kernels \
                tests/test_seeds.py tests/cam/test_activation.py tests/training/test_step.py
            ;;
        crf) gpu crf_vs_n crf_vs_n ;;
        train)
            gpu train_step train_step
            gpu train_step-deterministic train_step --deterministic on
            ;;
        inference)
            gpu inference inference
            gpu inference-compiled inference --compile on --batch-sizes 1 8 32 128
            ;;
    esac
done
exit $failed
