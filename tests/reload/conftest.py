"""A short film of a street."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.capture.street.encode import write_street


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    write_street(path, seed=1, seconds=8.0, size_wh=(480, 270), fps=10.0)
    return path
