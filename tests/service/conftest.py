"""What the tests of the service share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.service.manager import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens at ``notify`` in the test's folder."""
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        yield manager
