#!/usr/bin/env bash
# On a machine with CUDA: the quick tests, the tables of docs/performance.md, then rows of Table 1 at full size for the
# minutes given.
#
#   ACDC_DIR=PATH [MINUTES=8] [OUT=runs/gpu] [ONLY="acdc labels=20"] bash benchmarks/gpu.sh [--KEY VALUE ...]
#
# Without a network: lay the packages of constraints.txt that are missing on PYTHONPATH, unpack ACDC, run this.
# Run again with the same OUT it goes on where it stopped, tests and tables that are done are not run again; OUT/log
# holds all that was printed, OUT/*.md the tables. --epochs 20 unless told otherwise: the paper's 400 are for machines
# that one can keep.
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

DEVICE=$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

# Once: a part that was done left its file.
once() {
    local file=$OUT/$1
    shift
    [ -e "$file" ] || { echo "== $*"; "$@" 2>&1 | tee "$file.part" && mv "$file.part" "$file"; } || failed="${failed:-} $file"
}

once tests.txt python -m pytest -q -m "not slow"
once step.md python benchmarks/step.py --device "$DEVICE" --levers ${STEP:-}
once few.md python benchmarks/few.py --device "$DEVICE"
once data.md python benchmarks/data.py --device "$DEVICE"
once data-128.md python benchmarks/data.py --device "$DEVICE" --size 128
once predict.md python benchmarks/predict.py --device "$DEVICE"
once memory.md python benchmarks/memory.py

timeout --signal=INT --kill-after=60 "${MINUTES:-8}m" \
    python -m acdc_semicycle table --data acdc="$ACDC_DIR" --only "${ONLY:-acdc labels=20 method=semicycle,partial,hung}" \
    --jobs 3 --out "$OUT" --epochs 20 "$@" || rc=$?
case "${rc:-0}" in
    0) ;;
    124 | 130 | 137) echo "stopped after ${MINUTES:-8} minutes: the same command goes on" ;;
    *) exit "$rc" ;;
esac
[ -z "${failed:-}" ] || { echo "failed:$failed" && exit 1; }
