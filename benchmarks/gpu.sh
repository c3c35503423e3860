#!/usr/bin/env bash
# On a machine with CUDA: the whole test suite, then the paper preset on ACDC for the minutes given.
#
#   ACDC_DIR=PATH [MINUTES=8] [OUT=runs/gpu] bash benchmarks/gpu.sh [--KEY VALUE ...]
#
# Without a network: lay the packages of constraints.txt that are missing on PYTHONPATH, unpack ACDC, run this.
# Run again with the same OUT it goes on with the training where it stopped; OUT/log holds all that was printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${ACDC_DIR:?give the unpacked ACDC folder: ACDC_DIR=PATH bash benchmarks/gpu.sh}"
OUT=${OUT:-runs/gpu}
mkdir -p "$OUT"
exec > >(tee -a "$OUT/log") 2>&1

python - <<'PYTHON'
import torch
print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device: on the CPU")
PYTHON

[ -n "${NO_TESTS:-}" ] || python -m pytest -q -m "not slow" || echo "tests failed"

CONFIG="['bundles/semicycle/configs/train.json']"
timeout --signal=INT --kill-after=60 "${MINUTES:-8}m" \
    python -m monai.bundle run training --config_file "$CONFIG" --output_dir "$OUT" "$@" ||
    echo "stopped after ${MINUTES:-8} minutes"
python -m monai.bundle run evaluating --config_file "['bundles/semicycle/configs/train.json','bundles/semicycle/configs/evaluate.json']" \
    --output_dir "$OUT" "$@"
