"""What several test files share: a tiny phantom, written once, and the real ACDC where this machine has it."""

import os
from pathlib import Path

import pytest

from acdc_semicycle.data import acdc, phantom
from acdc_semicycle.data.records import Record

TINY = (32, 32, 6)


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory) -> Path:
    """Eight patients of 32 x 32 x 6 voxels, all with masks. Read only."""
    root = tmp_path_factory.mktemp("shared") / "phantom"
    phantom.write(root, patients=8, size=TINY)
    return root


@pytest.fixture(scope="session")
def phantom_records(phantom_dir) -> list[Record]:
    return acdc.records(phantom_dir)


@pytest.fixture(scope="session")
def acdc_dir() -> Path:
    """Real ACDC: ``$ACDC_DIR``, or ``shared/data/acdc`` beside the clone. Read only."""
    root = Path(os.environ.get("ACDC_DIR") or Path(__file__).parents[2] / "shared" / "data" / "acdc")
    if not any(root.glob("**/patient*/Info.cfg")):
        pytest.skip(f"no real ACDC at {root}: set ACDC_DIR to the unpacked challenge")
    return root
