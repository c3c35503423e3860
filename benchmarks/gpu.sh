#!/usr/bin/env bash
# On a machine with CUDA: the quick tests, then rows of Table 1 at full size for the minutes given.
#
#   ACDC_DIR=PATH [MINUTES=8] [OUT=runs/gpu] [ONLY="acdc labels=20"] bash benchmarks/gpu.sh [--KEY VALUE ...]
#
# Without a network: lay the packages of constraints.txt that are missing on PYTHONPATH, unpack ACDC, run this.
# Run again with the same OUT it goes on where it stopped; OUT/log holds all that was printed. --epochs 20 unless told
# otherwise: the paper's 400 are for machines that one can keep.
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

timeout --signal=INT --kill-after=60 "${MINUTES:-8}m" \
    python -m acdc_semicycle table --data acdc="$ACDC_DIR" --only "${ONLY:-acdc labels=20 method=semicycle,partial,hung}" \
    --jobs 3 --out "$OUT" --epochs 20 "$@" || rc=$?
case "${rc:-0}" in
    0) ;;
    124 | 130 | 137) echo "stopped after ${MINUTES:-8} minutes: the same command goes on" ;;
    *) exit "$rc" ;;
esac
