#!/usr/bin/env bash
# On a machine with CUDA: the quick tests, then the paper preset on ACDC for the minutes given.
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

python -m pytest -q -m "not slow"

CONFIGS=bundles/semicycle/configs
timeout --signal=INT --kill-after=60 "${MINUTES:-8}m" \
    python -m monai.bundle run training --config_file $CONFIGS/train.json --output_dir "$OUT" "$@" || rc=$?
case "${rc:-0}" in
    0) exit ;;
    124 | 130 | 137) echo "stopped after ${MINUTES:-8} minutes; what is there is evaluated" ;;
    *) exit "$rc" ;;
esac
python -m monai.bundle run evaluating --config_file "['$CONFIGS/train.json','$CONFIGS/evaluate.json']" --output_dir "$OUT" "$@"
