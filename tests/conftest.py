"""What several test files share: a tiny phantom, written once, and real data where this machine has them."""

import locale
import os
import shutil
import signal
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: as many threads as files run at a time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of the many processes would compile the whole package

import numpy as np
import pytest

from acdc_semicycle.datasets import acdc, phantom
from acdc_semicycle.datasets.records import Record

sys.dont_write_bytecode = False  # this process would compile all tests, and the package with its checks of shapes

TINY = (32, 32, 6)
MEMORY = Path("/dev/shm")  # thousands of flushes to disk, 5 to 10 ms each, cost nothing there

if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that no process is left with one of them when the others are done."""
    longest = ["test_demonstration.py", "test_reliability_program.py", "test_distributed.py", "test_benchmarks.py"]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


@pytest.fixture(autouse=True)
def same_locale():
    """SimpleITK leaves another locale behind when it writes DICOM."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture(autouse=True)
def same_signals():
    """A command that is called in this process holds signals back, and so would all that is started later."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    handlers = {number: signal.getsignal(number) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


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


@pytest.fixture(scope="session")
def voc_dir() -> Path:
    """Real VOC 2012: ``$VOC_DIR``, or ``shared/data/voc`` beside the clone. Read only."""
    root = Path(os.environ.get("VOC_DIR") or Path(__file__).parents[2] / "shared" / "data" / "voc")
    if not any(root.glob("**/ImageSets/Segmentation/val.txt")):
        pytest.skip(f"no real PASCAL VOC at {root}: set VOC_DIR to the folder that holds VOCdevkit")
    return root


@pytest.fixture(scope="session")
def cityscapes_dir() -> Path:
    """Real streets: ``$CITYSCAPES_DIR``, or ``shared/data/cityscapes_layout`` beside the clone. Read only."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "cityscapes_layout"
    root = Path(os.environ.get("CITYSCAPES_DIR") or beside)
    if not (root / "leftImg8bit" / "val").is_dir():
        pytest.skip(f"no Cityscapes at {root}: set CITYSCAPES_DIR to the folder of leftImg8bit and gtFine")
    return root


@pytest.fixture(scope="session")
def itk_affine():
    """To RAS, in mm, of a SimpleITK image, by SimpleITK's own way from indices to places."""

    def affine(image) -> np.ndarray:
        n, result = image.GetDimension(), np.eye(4)
        places = [
            image.TransformIndexToPhysicalPoint(index)
            for index in np.vstack([np.zeros(n), np.eye(n)]).astype(int).tolist()
        ]
        origin, *ends = np.array(places)[:4, :3]
        result[: len(origin), : len(ends)] = (np.array(ends) - origin).T
        result[: len(origin), 3] = origin
        return np.diag([-1, -1, 1, 1]) @ result

    return affine
