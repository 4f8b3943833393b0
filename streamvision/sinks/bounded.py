"""Keeping a server that does not answer from holding a sink's thread: deadlines for libraries that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

GRACE_S = 2.0
"""How long a cancelled coroutine may take to clean up."""


@contextlib.contextmanager
def cut_off(after_s: float, cut: Callable[[], object]) -> Iterator[threading.Event]:
    """Call ``cut`` from another thread when the block takes longer; the event given tells whether that happened.

    ``cut`` must end what the block waits for (shut its socket down), and return at once.
    """
    late = threading.Event()

    def too_late() -> None:
        late.set()
        with contextlib.suppress(OSError):
            cut()

    timer = threading.Timer(after_s, too_late)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()


class LoopThread:
    """An event loop in a thread of its own, for a library of coroutines; it also answers a server's pings meanwhile."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run a coroutine to its end and return its result.

        Raises `TimeoutError` after the deadline, when the coroutine has been cancelled, and what it raises itself.
        """
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), self._loop)
        try:
            return future.result(timeout_s + GRACE_S)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what runs and end the thread; idempotent."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(GRACE_S)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            self._cancel_all()
        finally:
            self._loop.close()

    def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=GRACE_S))
