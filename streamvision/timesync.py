"""Whether this machine's wall clock follows a time server, and how far it may be off.

The kernel knows (adjtimex(2), RFC 5905 as Linux keeps it), whoever steers it: chrony, ntpd, systemd-timesyncd. Under a
system-call filter that does not let it be asked, systemd-timedated asks for us.
"""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from streamvision.clock import Clock, SystemClock

log = structlog.get_logger()

UNSET_S: Final = 86_400.0
"""How far a clock may be off that nobody has set: a day. Nothing is known of it, and no smaller number would say so."""
TRUSTED_S: Final = 0.1
"""The same for one of which only is known that it is synchronised: what time servers on the Internet come to."""
EVERY_S: Final = 30.0

_TIME_ERROR: Final = 5
_ASKED: Final = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
_ANSWER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class TimeSync:
    """What is known of the wall clock: ``synchronised`` is None where nobody can say."""

    synchronised: bool | None
    error_s: float


class _Timex(ctypes.Structure):
    """``struct timex`` of <sys/timex.h>, up to what is read here."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("rest", ctypes.c_char * 256),
    )  # fmt: skip


def time_sync() -> TimeSync:
    """Ask the kernel, else systemd. May take seconds where systemd is asked."""
    found = _kernel()
    return found if found is not None else _systemd()


def _kernel() -> TimeSync | None:
    """Return the kernel's word; None where it may not be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):  # a C library without it
        return None
    answer = _Timex(modes=0)
    state = adjtimex(ctypes.byref(answer))
    if state < 0:
        return None
    return TimeSync(False, UNSET_S) if state == _TIME_ERROR else TimeSync(True, answer.maxerror / 1e6)


def _systemd() -> TimeSync:
    try:
        done = subprocess.run(_ASKED, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return TimeSync(None, 0.0)
    known = {"yes": TimeSync(True, TRUSTED_S), "no": TimeSync(False, UNSET_S)}
    return known.get(done.stdout.strip(), TimeSync(None, 0.0))


SETTLED_S: Final = 600.0
"""For how long a clock must have followed a time server, without a jump, before anything is deleted by it."""
JUMP_S: Final = 60.0


class TrustedTime:
    """Wall time for what must not believe a jump; for one thread, asked every minute or so.

    Nothing is known until the clock has been synchronised for `SETTLED_S` without jumping by more than `JUMP_S`.
    From then on the time goes on by CLOCK_BOOTTIME, which nobody can set; later jumps change nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zero: datetime | None = None
        self._since_s = 0.0
        self._settled = False

    def now(self) -> datetime | None:
        """Return the time in UTC; None while it is not known."""
        boot_s = self._clock.boottime()
        if not self._settled:
            self._consider(boot_s, self._clock.utcnow() - timedelta(seconds=boot_s))
        return self._zero + timedelta(seconds=boot_s) if self._settled and self._zero is not None else None

    def _consider(self, boot_s: float, zero: datetime) -> None:
        """Take what the wall clock says now; ``zero`` is when CLOCK_BOOTTIME was 0 according to it."""
        steady = self._zero is not None and abs((zero - self._zero).total_seconds()) <= JUMP_S
        if not steady or not self._clock.synchronised():
            self._since_s = boot_s
        self._zero = zero
        self._settled = boot_s - self._since_s >= SETTLED_S


class TimeSyncWatch:
    """Looks every half minute, in a thread of its own: ``clock`` learns its uncertainty, ``tell`` the state."""

    def __init__(
        self,
        clock: SystemClock,
        tell: Callable[[TimeSync], None],
        ask: Callable[[], TimeSync] = time_sync,
        every_s: float = EVERY_S,
    ) -> None:
        """Nothing is asked before `start`."""
        self.crashed: BaseException | None = None
        self._clock = clock
        self._tell = tell
        self._ask = ask
        self._every_s = every_s
        self._stop = threading.Event()
        self._said: bool | None = None
        self._thread = threading.Thread(target=self._guarded, name="timesync", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End; False if an answer was still waited for."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
                self._stop.wait(self._every_s)
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("time synchronisation is not watched any more", exc_info=error)

    def _look(self) -> None:
        found = self._ask()
        self._clock.vouch(found.error_s, found.synchronised)
        self._tell(found)
        if found.synchronised is not self._said and not (found.synchronised is None and self._said is None):
            if found.synchronised:
                log.info("the clock is synchronised", error_s=round(found.error_s, 3))
            else:
                log.warning(
                    "the clock is not synchronised; events say so in clock.uncertainty_s", error_s=found.error_s
                )
        self._said = found.synchronised
