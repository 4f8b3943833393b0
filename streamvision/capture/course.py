"""Where one capture's pictures go, and where they are to go next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from streamvision.capture.orders import Target
from streamvision.channel import Channel
from streamvision.types import Frame, InputSpec

Deed = Callable[[], object]
"""What is done at a turn; what it returns is of no interest."""


@dataclass(slots=True)
class _Next:
    """A turn to come: where to, and what is to be done then, in this order."""

    input: InputSpec
    channel: Channel[Frame]
    deeds: list[Deed] = field(default_factory=list)


class Course:
    """``channel`` is what the capture fills, with pictures for ``input``.

    Any thread may say where they are to go next; the capture's own thread goes there, between two pictures: `turn`,
    and once the pictures before have met their fate, `arrive`. The channel that it leaves is closed in the same instant
    in which it leaves it, so that one that is open is in use.
    """

    def __init__(self, input_spec: InputSpec, channel: Channel[Frame]) -> None:
        self.input = input_spec
        self.channel = channel
        self._next: _Next | None = None
        self._due: list[Deed] = []
        """What is to be done at the turn that has begun."""
        self._over = False
        self._lock = threading.Lock()

    # For any thread

    def go(self, target: Target) -> bool:
        """Send pictures elsewhere from the next one on; False after the end: there is none."""
        with self._lock:
            if not self._over:
                self._plan(target)
            return not self._over

    def stay(self, channel: Channel[Frame], turn: Deed) -> bool:
        """Let pictures go on into a channel that they were to leave; False where they have left it, or are to stay."""
        with self._lock:
            if self._next is None or self.channel is not channel:
                return False
            self._plan(Target(self.input, channel, turn))
            return True

    def also(self, deed: Deed) -> bool:
        """Do something more at the turn that is to come, or has begun; False where there is none."""
        with self._lock:
            deeds = self._due if self._next is None else self._next.deeds
            if self._next is None and not self._due:
                return False
            deeds.append(deed)
            return True

    def leave(self) -> Deed:
        """Close everything; return what a turn that was still to come was to do."""
        with self._lock:
            self.channel.close()
            missed, self._next = self._next, None
        if missed is not None:
            missed.channel.close()

        def do() -> None:
            for deed in missed.deeds if missed is not None else ():
                deed()

        return do

    # For the capture's own thread

    def turn(self) -> bool:
        """Turn to what is next; False if nothing is."""
        with self._lock:
            if self._next is None:
                return False
            if self._next.channel is not self.channel:
                self.channel.close()
            self.input, self.channel = self._next.input, self._next.channel
            self._begin()
            return True

    def arrive(self) -> None:
        """Do what is to be done at the turn that has begun."""
        while self._due:
            self._due[0]()
            with self._lock:  # only now: until it is done, what comes `also` comes after it
                del self._due[0]

    def end(self) -> bool:
        """Close the channel, and begin the turn that is still to come; False ends it: nothing comes after that."""
        with self._lock:
            self.channel.close()
            if self._next is None:
                self._over = True
                return False
            self._next.channel.close()
            self._begin()
            return True

    def _begin(self) -> None:
        if self._next is not None:
            self._due += self._next.deeds
        self._next = None

    def _plan(self, target: Target) -> None:
        missed, self._next = self._next, _Next(target.input, target.channel)
        if missed is not None:  # one that was never turned to: nothing was put there, and its deeds are due first
            if missed.channel is not self.channel:
                missed.channel.close()
            self._next.deeds += missed.deeds
        self._next.deeds.append(target.turn)
