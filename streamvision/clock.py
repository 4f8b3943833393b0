"""Time: monotonic and wall clocks that tests can replace, and the time line of a stream."""

from __future__ import annotations

import math
import time
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from streamvision.types import ClockSource


class Clock(Protocol):
    """What the daemon knows of time. Injected everywhere, so that tests do not wait."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back, and stands still while the machine sleeps."""
        ...

    def boottime(self) -> float:
        """Seconds since an arbitrary start, those in which the machine slept too; never goes back."""
        ...

    def utcnow(self) -> datetime:
        """Wall time, aware, in UTC; may jump."""
        ...

    def uncertainty_s(self) -> float:
        """How far `utcnow` may be from the truth, as far as that is known; 0 where nothing is known against it."""
        ...

    def synchronised(self) -> bool | None:
        """Whether `utcnow` follows a time server; None where nobody can say."""
        ...


def in_our_time(moment: datetime) -> bool:
    """Return whether a time stamp from outside can be worked with: far enough from where the calendar ends."""
    return 1900 <= moment.year < 2200


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._uncertainty_s = 0.0
        self._synchronised: bool | None = None

    def monotonic(self) -> float:
        """Return ``time.monotonic()`` in seconds."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME of clock_gettime(2) in seconds."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def utcnow(self) -> datetime:
        """Return the present UTC time."""
        return datetime.now(UTC)

    def uncertainty_s(self) -> float:
        """Return what `vouch` was told last; 0 before."""
        return self._uncertainty_s

    def synchronised(self) -> bool | None:
        """Return what `vouch` was told last; None before."""
        return self._synchronised

    def vouch(self, uncertainty_s: float, synchronised: bool | None = None) -> None:
        """Tell how far the wall clock may be off, as somebody who watches it has found."""
        self._uncertainty_s, self._synchronised = uncertainty_s, synchronised


SLEEP_S: Final = 1.0
"""A shorter sleep of the machine goes unnoticed, as a short stall of a camera does."""


class SleepWatch:
    """Notices when the machine has slept (suspend to memory or disk): CLOCK_BOOTTIME has outrun CLOCK_MONOTONIC.

    For one thread. The two cannot be read at once: the order in which they are makes a thread that is held up between
    them overlook a short sleep rather than see one that never was.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asleep_s = self._at_most_s()

    def look(self) -> float:
        """Return for how many seconds the machine has slept since the last look; 0 if it has not."""
        slept_s = self._clock.boottime() - self._clock.monotonic() - self._asleep_s
        if slept_s < SLEEP_S:
            return 0.0
        self._asleep_s = self._at_most_s()
        return slept_s

    def _at_most_s(self) -> float:
        awake_s = self._clock.monotonic()
        return self._clock.boottime() - awake_s


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a picture was taken: ``media_s`` on the stream's own time line, ``captured_at`` in UTC, and by which clock.

    ``uncertainty_s`` is how far ``captured_at`` may be from the truth, as far as that can be known from here.
    ``sleeps`` is how often the machine has slept since the stream's first picture.
    """

    media_s: float
    captured_at: datetime
    clock: ClockSource
    uncertainty_s: float
    epoch: int
    sleeps: int = 0


class _Cadence:
    """The usual media time between two pictures: how far the highest pts moves per picture, averaged.

    Counting progress instead of differences is what makes it right for pts in decoding order (0 2 1 4 3 ...).
    """

    _MEMORY = 16
    _STUCK = 8
    """After so many pictures without progress the pts have stopped, and say nothing about the rate."""

    def __init__(self) -> None:
        self.period_s = _GUESSED_PERIOD_S
        self._highest_s: float | None = None
        self._seen = 0
        self._without_progress = 0

    def observe(self, pts_s: float) -> None:
        """Take the pts of one picture."""
        highest_s = self._highest_s
        self._highest_s = pts_s if highest_s is None else max(highest_s, pts_s)
        if highest_s is None:
            return
        self._without_progress = 0 if pts_s > highest_s else self._without_progress + 1
        if self._without_progress <= self._STUCK:
            self._seen = min(self._seen + 1, self._MEMORY)
            self.period_s += (max(pts_s - highest_s, 0.0) - self.period_s) / self._seen
            self.period_s = max(self.period_s, _SMALLEST_STEP_S)

    def rebase(self) -> None:
        """Expect pts that have nothing to do with those before."""
        self._highest_s = None


class _Arrival:
    """When a picture would have arrived over a network without jitter.

    No picture arrives before it was sent, so the smallest ``received - pts`` seen is the network at its best: the
    lower envelope. It follows downward at once and upward slowly, so a late burst keeps its true times, while a
    sender whose clock is slow, or whose path has become longer, is followed within some ten seconds.
    """

    _TAU_S = 10.0
    _LARGEST_LEAK = 0.1
    _LARGEST_LATENESS_S = 5.0
    """More is no jitter: the sender has paused without saying so in its pts."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self.jitter_s = 1.0
        """The largest recent lateness, slowly forgotten. At first nothing is known: servers may send what they hold."""

    def observe(self, pts_s: float | None, received_s: float, since_last_s: float) -> float:
        """Return the arrival time without jitter, monotonic; never after ``received_s``."""
        late_s = 0.0
        if pts_s is not None:
            late_s = self.lateness_s(pts_s, received_s)
            kept_s = late_s * (1 - min(since_last_s / self._TAU_S, self._LARGEST_LEAK))
            late_s = kept_s if 0 < late_s <= self._LARGEST_LATENESS_S else 0.0
            self._offset_s = received_s - pts_s - late_s
        fading = max(0.0, 1 - since_last_s / self._TAU_S)
        self.jitter_s = max(late_s, self.jitter_s * fading)
        return received_s - late_s

    def lateness_s(self, pts_s: float, received_s: float) -> float:
        """Return how late a picture is against the envelope; negative if earlier than any before."""
        return 0.0 if self._offset_s is None else received_s - pts_s - self._offset_s

    def rebase(self) -> None:
        """Expect pts that have nothing to do with those before."""
        self._offset_s = None


_SMALLEST_STEP_S = 1e-5
_GUESSED_PERIOD_S = 0.04
_REORDERED_S = 1.0
"""Pts that go back by less are in the wrong order; by more, they start anew."""
_LIVE_JUMP_S = 1.0
"""Pts of a live stream that run ahead of all that arrived before by more than this are wrong."""
_FILE_GAP_S = 60.0
"""A file may hold gaps up to this; a longer one is a broken time stamp."""
_FREE_LEAD_S = 2.0
_LARGEST_LEAD_S = 10.0
"""Media time may lead or lag freely by the first (servers send what they hold at once), never lead by the second."""
_LARGEST_LAG_S = 5.0
_TRANSIT_S = 0.1
"""What encoder and network take at least; it cannot be seen from this end."""
_FILE_UNCERTAINTY_S = 1.0
"""Recordings state their start in whole seconds, if at all."""
_RTCP_UNCERTAINTY_S = 0.02
_RTCP_BELIEVED_S = 60.0
"""A sender whose clock is further away than this from ours has not been set."""


def _pace(lead_s: float) -> float:
    """Return how fast media time runs against pts when it leads arrival by so much (negative: lags)."""
    if lead_s > _FREE_LEAD_S:
        return max(0.0, (_LARGEST_LEAD_S - lead_s) / (_LARGEST_LEAD_S - _FREE_LEAD_S))
    return 1 + max(0.0, -lead_s - _FREE_LEAD_S) / (_LARGEST_LAG_S - _FREE_LEAD_S)


class MediaTimeline:
    """The one place where a stream's time is decided. Pure: no video, no waiting; one per stream, one thread.

    Media time
        starts at 0, always grows by at least some microseconds, and follows pts as long as they can be believed.
        A picture without pts, or whose pts lies at or before the last picture, comes one usual picture distance
        after its predecessor (file), or as much later as it arrived later (live, no pts). Pts that jump (wrap-around,
        another century, more than a second back) are given up for that picture and taken as a new origin:
        media time goes on by the time that passed on arrival (live), or by one picture distance (file).
        After `restart` a new epoch goes on in the same way.

        Live media time stays within 10 s of arrival, whatever the pts say: a lead of more than 2 s over the arrival
        without jitter slows it down more and more (to a standstill at 10 s), a lag of more than 2 s speeds it up (to
        double at 5 s), and a lag of more than 5 s is caught up at once.
        A camera that counts 25 pictures as one second but sends 21 thus gets seconds of almost the true length.
        Time in which the machine slept counts: the stream goes on later, and `Stamp.sleeps` says that it did.

    UTC
        ``rtcp``: the sender's own statement, if its clock is within a minute of ours; uncertainty 0.02 s, or as much
        as it lies in our future. ``file``: the start of the recording as the caller knows it, plus media time;
        uncertainty 1 s. ``arrival``: the wall time at which the picture would have arrived without jitter (see
        `_Arrival`); the uncertainty is 0.1 s for what cannot be seen, plus the largest recent lateness.
    """

    def __init__(self, clock: Clock, *, live: bool, file_start: datetime | None = None) -> None:
        """``file_start``: when a recording's first picture was taken, if that is known."""
        self._clock = clock
        self._live = live
        self._file_start = file_start
        self._cadence = _Cadence()
        self._arrival = _Arrival()
        self._media_s = 0.0
        self._received_s: float | None = None
        self._first_received_s = 0.0
        self._pts_s: float | None = None
        self._shift_s = 0.0
        self._disordered = False
        self._epoch = 0
        self._sleep = SleepWatch(clock)
        self._slept_s = 0.0
        self._sleeps = 0

    def restart(self) -> None:
        """Begin a new epoch: the source was opened again, its pts start anew. Before the first picture, do nothing."""
        if self._received_s is not None:
            self._epoch += 1
            self._rebase()

    def fork(self) -> MediaTimeline:
        """Return one that goes on from here by itself: this one may still be in the hands of a thread left behind."""
        other = copy(self)
        other._cadence, other._arrival, other._sleep = copy(self._cadence), copy(self._arrival), copy(self._sleep)
        return other

    def become(self, *, live: bool, file_start: datetime | None = None) -> None:
        """Go on for a source of another kind; call before `restart`. Media time goes on from where it is."""
        if live and not self._live and self._received_s is not None:
            self._first_received_s = self._received_s - self._media_s
        self._live, self._file_start = live, file_start

    def stamp(self, pts_s: float | None, received_s: float, sender_utc: datetime | None = None) -> Stamp:
        """Return the time of the next picture; arguments as in `interfaces.SourcePicture`."""
        pts_s = pts_s if pts_s is not None and math.isfinite(pts_s) else None
        first = self._received_s is None
        received_s = self._awake_and_asleep_s(received_s)
        last_s = received_s if self._received_s is None else self._received_s
        received_s = max(received_s, last_s)
        self._first_received_s = received_s if first else self._first_received_s
        if pts_s is not None and self._pts_s is not None and self._jumps(pts_s, received_s, received_s - last_s):
            self._rebase()
        arrival_s = self._arrival.observe(pts_s, received_s, received_s - last_s)
        if not first:
            self._advance(pts_s, received_s - last_s, arrival_s)
        self._received_s = received_s
        self._remember(pts_s)
        return self._stamp(arrival_s, sender_utc)

    def _awake_and_asleep_s(self, received_s: float) -> float:
        """Return a monotonic time on a line on which the machine's sleep counts, if the stream goes on meanwhile."""
        slept_s = self._sleep.look()
        if slept_s and self._live and self._received_s is not None:
            self._slept_s += slept_s
            self._sleeps += 1
        return received_s + self._slept_s

    def _advance(self, pts_s: float | None, waited_s: float, arrival_s: float) -> None:
        """Move media time to the next picture."""
        step_s = self._step(pts_s, waited_s)
        if not self._live:
            self._media_s += step_s
            return
        lead_s = self._media_s + step_s - (arrival_s - self._first_received_s)
        paced_s = max(step_s * _pace(lead_s), step_s - lead_s - _LARGEST_LAG_S, _SMALLEST_STEP_S)
        self._shift_s += paced_s - step_s
        self._media_s += paced_s

    def _step(self, pts_s: float | None, waited_s: float) -> float:
        """Return by how much media time grows before anything is corrected; always more than 0."""
        period_s = self._cadence.period_s
        if pts_s is None or self._pts_s is None:
            return max(waited_s, period_s / 4) if self._live else period_s
        step_s = pts_s + self._shift_s - self._media_s
        self._disordered = step_s < (period_s / 2 if self._disordered else _SMALLEST_STEP_S)
        if not self._disordered:
            return step_s
        if step_s > 0:
            return period_s / 2
        return max(period_s / (1 - step_s / (4 * period_s)), _SMALLEST_STEP_S)  # slower, the more it has run ahead

    def _jumps(self, pts_s: float, received_s: float, waited_s: float) -> bool:
        """Whether a pts cannot be the continuation of those before."""
        assert self._pts_s is not None
        step_s = pts_s - self._pts_s
        if step_s < -max(_REORDERED_S, 4 * self._cadence.period_s):
            return True
        if not self._live:
            return step_s > _FILE_GAP_S
        early_s = -self._arrival.lateness_s(pts_s, received_s)
        return step_s - waited_s > _LIVE_JUMP_S and early_s > _LIVE_JUMP_S

    def _rebase(self) -> None:
        self._pts_s = None
        self._disordered = False
        self._cadence.rebase()
        self._arrival.rebase()

    def _remember(self, pts_s: float | None) -> None:
        """Tie the first pts of a run to the media time it was given; watch the cadence."""
        if pts_s is None:
            return
        if self._pts_s is None:
            self._shift_s = self._media_s - pts_s
        self._pts_s = pts_s
        self._cadence.observe(pts_s)

    def _stamp(self, arrival_s: float, sender_utc: datetime | None) -> Stamp:
        if not self._live and self._file_start is not None:
            at = self._file_start + timedelta(seconds=self._media_s)
            return Stamp(self._media_s, at, ClockSource.FILE, _FILE_UNCERTAINTY_S, self._epoch, self._sleeps)
        age_s = self._clock.monotonic() + self._slept_s - arrival_s
        wall = self._clock.utcnow() - timedelta(seconds=max(0.0, age_s))
        if sender_utc is not None and abs(ahead_s := (sender_utc - wall).total_seconds()) <= _RTCP_BELIEVED_S:
            uncertainty_s = max(_RTCP_UNCERTAINTY_S, ahead_s)
            return Stamp(self._media_s, sender_utc, ClockSource.RTCP, uncertainty_s, self._epoch, self._sleeps)
        uncertainty_s = _TRANSIT_S + self._arrival.jitter_s + self._clock.uncertainty_s()
        return Stamp(self._media_s, wall, ClockSource.ARRIVAL, uncertainty_s, self._epoch, self._sleeps)
