"""Whether what a connected camera sends is worth having: whole pictures, in time. Pure; times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamvision.errors import BrokenMedia, CaptureError, FellBehind, PacketsLost
from streamvision.interfaces import SourcePicture

LATE_S: Final = 2.0
"""A delay that has grown by this much is no jitter."""
PATIENCE_S: Final = 5.0
"""How long pictures may be late: what a broken link held back comes in a moment, so that the delay is soon gone."""
BLIND_S: Final = 30.0
"""A stream that is to heal without a key frame needs 20 s; after this nothing is expected any more."""
WINDOW_S: Final = 5.0
"""After so much time it is said anew what came of the pictures."""
_CLOCK_SET_S: Final = 0.5
_DRIFT: Final = 0.001
"""How much a sender's clock may run differently from ours; the best delay ever seen is forgotten at this rate."""


class Delay:
    """By how much the way from the sender takes longer than at its best, by the sender's own clock (RTCP).

    Not by pts: cameras that count 25 pictures as a second and send 21 look as if they came ever later.
    """

    def __init__(self) -> None:
        self._best_s: float | None = None
        self._offset_s = 0.0
        self._received_s = 0.0

    def observe(self, received_s: float, sent_s: float) -> float:
        """Return the delay of a picture beyond the best one."""
        offset_s, waited_s = received_s - sent_s, received_s - self._received_s
        # Nothing can have become later by more than the time that has passed: the sender's clock was set.
        if self._best_s is None or offset_s - self._offset_s > waited_s + _CLOCK_SET_S:
            self._best_s = offset_s
        self._best_s = min(self._best_s + max(0.0, waited_s) * _DRIFT, offset_s)
        self._offset_s, self._received_s = offset_s, received_s
        return offset_s - self._best_s


@dataclass(slots=True)
class _Window:
    """Some seconds of pictures, and what came of them."""

    since_s: float
    pictures: int = 0
    damaged: int = 0
    lost: int = 0

    def told(self) -> str:
        """Return what is to be said of it; empty if all is well."""
        if not self.damaged and not self.lost:
            return ""
        said = f"{self.damaged} of {self.pictures} pictures in {WINDOW_S:g} s were damaged and left out"
        return said if not self.lost else f"{said}; {self.lost} packets were lost on the way"


class Quality:
    """Watches one connection. ``told`` is what there is to say of it while it is live, empty if all is well."""

    def __init__(self, stream: str, now_s: float) -> None:
        self.told = ""
        self._stream = stream
        self._window = _Window(now_s)
        self._delay = Delay()
        self._late_since_s: float | None = None
        self._whole_s = now_s
        self._lost_since_whole = 0

    def judge(self, arrived: SourcePicture) -> None:
        """Take a picture into account.

        Raises `FellBehind` where the delay grows, `PacketsLost` or `BrokenMedia` where no picture is whole any more.
        """
        self._count(arrived)
        self._judge_damage(arrived)
        if arrived.sender_utc is not None:
            self._judge_delay(arrived.received_s, arrived.sender_utc.timestamp())

    def _count(self, arrived: SourcePicture) -> None:
        window = self._window
        if arrived.received_s - window.since_s >= WINDOW_S:
            self.told, self._window = window.told(), _Window(arrived.received_s)
            window = self._window
        window.pictures += 1
        window.damaged += arrived.corrupt
        window.lost += arrived.lost_packets

    def _judge_damage(self, arrived: SourcePicture) -> None:
        if not arrived.corrupt:
            self._whole_s, self._lost_since_whole = arrived.received_s, 0
            return
        self._lost_since_whole += arrived.lost_packets
        if arrived.received_s - self._whole_s >= BLIND_S:
            raise self._blind()

    def _blind(self) -> CaptureError:
        if not self._lost_since_whole:
            return BrokenMedia(f"no picture was whole for {BLIND_S:g} s", where=self._stream)
        return PacketsLost(
            f"no picture was whole for {BLIND_S:g} s, {self._lost_since_whole} packets were lost on the way",
            where=self._stream,
            remedy="mend the link, or set transport: tcp, which repeats what is lost",
        )

    def _judge_delay(self, received_s: float, sent_s: float) -> None:
        late_s = self._delay.observe(received_s, sent_s)
        if late_s < LATE_S:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = received_s
        elif received_s - self._late_since_s >= PATIENCE_S:
            raise FellBehind(
                f"the pictures are {late_s:.1f} s late: the network, or this machine, is slower than the stream",
                where=self._stream,
                remedy="lower the camera's bit rate, or take its second stream",
            )
