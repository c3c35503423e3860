"""What the tests of the readers share."""

import pytest

from acdc_semicycle.runtime import environment


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    for name in environment.NAMES:
        monkeypatch.delenv(name, raising=False)
