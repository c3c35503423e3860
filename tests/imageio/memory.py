"""How much memory a test's reading takes at its height."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    """Fail where this process, at any moment in here, has more memory than before by so much."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the height that earlier tests have reached
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert taken < mebibytes * 1024, f"{taken // 1024} MiB"
