"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The processes share the machine: PyTorch's threads would spin against those of the process beside them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real videos, networks and labelled sets."""
    folder = os.environ.get("STREAMVISION_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("STREAMVISION_TEST_DATA does not name a folder of test data")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither use nor fill the user's cache: not in this process, not in those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name in ("CACHE_DIRECTORY", "STREAMVISION_ENGINES"):
            patch.delenv(name, raising=False)
        yield
