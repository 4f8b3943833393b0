"""Connections that lay idle and were closed at the other end meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from streamvision.errors import SinkError


def once_more(attempt: Callable[[], None], *, used: bool, beat: Callable[[], None]) -> None:
    """Make an attempt, and a second one if a ``used`` connection turns out to be closed: that alone is no failure.

    ``beat`` shows a sign of life in between. Raises the `SinkError` of the last attempt.
    """
    try:
        attempt()
    except SinkError as error:
        if not (used and error.reason == "connect"):
            raise
        beat()
        attempt()
