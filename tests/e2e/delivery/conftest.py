from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.delivery.receivers import Receiver, receiver_of


@pytest.fixture
def receiver(request, tmp_path) -> Iterator[Receiver]:
    """The receiver that a test's parameter names; not started."""
    built = receiver_of(request.param, tmp_path)
    try:
        yield built
    finally:
        built.close()
