#!/usr/bin/env bash
# Check this plugin on a GPU within 10 minutes: tests, a short training run, and a benchmark with the card's name.
# usage: bash scripts/gpu_check.sh [clone of https://github.com/yinboc/liif]    (DEVICE=cpu rehearses it without a GPU)
# It uses the active environment, see README.md, and writes only to a temporary folder.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
DEVICE=${DEVICE:-cuda} OFFICIAL=${1:-}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
failed=()

# part NAME SECONDS COMMAND...: run a command within a time limit, and go on if it fails.
part() {
    local name=$1 limit=$2 begun=$SECONDS
    shift 2
    printf '\n== %s\n' "$name"
    if timeout "$limit" "$@"; then
        printf '== %s: passed in %d s\n' "$name" $((SECONDS - begun))
    else
        printf '== %s: failed, or took longer than %d s\n' "$name" "$limit"
        failed+=("$name")
    fi
}

if [ "$DEVICE" = cuda ]; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || exit 1
fi
python -m liif_basicsr doctor || exit 1

# The compiler's test takes a minute on a CPU and needs a C++ compiler.
[ "$DEVICE" = cpu ] || export LIIF_TEST_INDUCTOR=1
tests=(tests/archs tests/losses tests/rendering tests/models tests/evaluation/test_validation.py)
[ -z "${SHORT:-}" ] || tests=(tests/losses tests/rendering/test_gpu_kernels.py tests/models/test_gpu_steps.py)
LIIF_TEST_DEVICE=$DEVICE part "tests" 240 python -m pytest -q --tb=short --maxfail=20 -p no:cacheprovider \
    ${WORKERS:+-n $WORKERS} "${tests[@]}"

train() {
    python - "$WORK" "$DEVICE" <<'P' && cd "$WORK" && python -m liif_basicsr.train -opt options.yml &&
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from experiment import make_images, train_options, val_set, write_options
work, gpu = Path(sys.argv[1]), sys.argv[2] == "cuda"
images = make_images(work / "images", 4, (80, 96))
options = train_options(images, 20, 10, num_gpu=int(gpu), val={
    "val_freq": 10, "save_img": False, "metrics": {"psnr": {"type": "calculate_psnr_liif"}}})
options["datasets"]["val"] = val_set("val", images, [2, 3.5])
options["datasets"]["train"]["num_worker_per_gpu"] = 2
options["train"].update(amp="auto", compile=gpu)
write_options(work / "options.yml", options)
P
        python -m liif_basicsr upscale images/p0.png out.png --scale 2.7 --device "$DEVICE" \
            --model experiments/tiny/models/net_g_latest.pth
}
export -f train
export WORK DEVICE
part "training, validation and upscaling" 120 bash -c train

short=(--runs 5)
[ "$DEVICE" = cuda ] || short=(--short)
part "benchmark" 230 python scripts/benchmark.py --device "$DEVICE" "${short[@]}" ${OFFICIAL:+--official "$OFFICIAL"}

if [ ${#failed[@]} -gt 0 ]; then
    printf '\nfailed: %s\n' "$(IFS=,; echo "${failed[*]}")"
    exit 1
fi
printf '\nall parts passed in %d s\n' "$SECONDS"
