"""Where one capture's pictures go, and where they are to go next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from streamvision.capture.orders import Target
from streamvision.channel import Channel
from streamvision.types import Frame, InputSpec


class Course:
    """``channel`` is what the capture fills, with pictures for ``input``.

    Any thread may say where they are to go next; the capture's own thread goes there, between two pictures. The
    channel that it leaves is closed in the same instant in which it leaves it, so that one that is open is in use.
    """

    def __init__(self, input_spec: InputSpec, channel: Channel[Frame]) -> None:
        self.input = input_spec
        self.channel = channel
        self._next: Target | None = None
        self._over = False
        self._lock = threading.Lock()

    @property
    def turning(self) -> bool:
        """Whether pictures are to go elsewhere from the next one on."""
        return self._next is not None

    def go(self, target: Target) -> bool:
        """Send pictures elsewhere from the next one on; False after the end: there is none."""
        with self._lock:
            if not self._over:
                self._plan(target)
            return not self._over

    def stay(self, channel: Channel[Frame], turn: Callable[[], None]) -> bool:
        """Let pictures go on into a channel that they were to leave; False where they have left it."""
        with self._lock:
            if self._next is None or self.channel is not channel:
                return False
            self._plan(Target(self.input, channel, turn))
            return True

    def turn(self) -> Target | None:
        """Turn to what is next, if anything is; what the target's ``turn`` does is for the caller."""
        with self._lock:
            target, self._next = self._next, None
            if target is not None:
                if target.channel is not self.channel:
                    self.channel.close()
                self.input, self.channel = target.input, target.channel
            return target

    def end(self) -> Target | None:
        """Close the channel, and return what was still to be turned to; None ends it: nothing comes after that."""
        with self._lock:
            self.channel.close()
            target, self._next = self._next, None
            self._over = target is None
        if target is not None:
            target.channel.close()
        return target

    def leave(self) -> Callable[[], None]:
        """Close everything; return what a turn that was still to come was to do."""
        with self._lock:
            self.channel.close()
            target, self._next = self._next, None
        if target is None:
            return _nothing
        target.channel.close()
        return target.turn

    def _plan(self, target: Target) -> None:
        missed, self._next = self._next, target
        if missed is not None:  # one that was never turned to: nothing was put there, and its turn is due first
            if missed.channel is not self.channel:
                missed.channel.close()
            self._next = replace(target, turn=partial(_both, missed.turn, target.turn))


def _both(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()


def _nothing() -> None:
    pass
