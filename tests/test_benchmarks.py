"""The programs that measure: that they run, and compare what is the same. What they measure is no test's business."""

import pytest
from processes import ROOT, run

RUNS = {
    "step.py": ("--levers --sizes 16x24 --batches 2 --rounds 1 --filters 2 --blocks 1", 11),
    "few.py": ("--quick --rounds 1", 8),  # heads, their line, six forms
    "predict.py": ("--quick --size 32 --filters 2 --steps 1", 11),
    "trust.py": ("--short", 32),
    "data.py": ("--patients 1 --size 32 --batch 2 --rounds 1", 11),
    "annotate_next.py": ("--short", 4),  # heads, their line, two arms
    "slices_to_mend.py": ("--short", 6),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_ends_with_a_table_of_all_its_forms(name):
    words, least = RUNS[name]
    done = run(ROOT / "benchmarks" / name, *words.split(), seconds=900, OMP_NUM_THREADS="1")
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) >= least and any("ours" in row for row in rows)
