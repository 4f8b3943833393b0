"""Hearing Ctrl-C and SIGTERM in commands that work in the foreground; the daemon has its own signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from streamvision.daemon import Insistence

T = TypeVar("T")


def interruptible(work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises; Ctrl-C ends the wait at once.

    A signal is heard only between two Python instructions of the main thread, and FFmpeg may wait for a camera for
    ten seconds in one. Work that is interrupted is left behind: the process is about to end.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  a thread's border: raised again where it is waited for
            result.set_exception(error)

    threading.Thread(target=run, name="foreground", daemon=True).start()
    return result.result()


@contextmanager
def ending(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block the first Ctrl-C or SIGTERM calls ``stop``, to complete the work.

    One that insists (`Insistence`) does what it does elsewhere.
    """
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    insistence = Insistence()

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def heard(number: int, _frame: FrameType | None) -> None:
        if insistence.again():
            restore()
            signal.raise_signal(number)
        else:
            stop()

    for number in former:
        signal.signal(number, heard)
    try:
        yield
    finally:
        restore()
