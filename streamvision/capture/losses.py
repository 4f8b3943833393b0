"""Packets that a camera sent and that never came.

FFmpeg counts RTP's sequence numbers (RFC 3550) and tells of a gap in its log alone. That log is the only place: what
a lost packet does to a picture is often not seen by the decoder. (Measured with 5 % loss, damaged pictures that
libavcodec 62 passed as whole: 2 % of H.264, 7 % of HEVC, and 37 % of HEVC with four slices per picture.)

PyAV gives a thread its own part of the log. FFmpeg takes the GIL for it, so it must never be waited for under the GIL
while it logs: decoders here have no threads of their own, and every call that waits for the network releases the GIL.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache

import av.logging

_MISSED = re.compile(r"RTP: missed (\d+) packets")

Lines = Sequence[tuple[int, str, str]]
"""FFmpeg's log: level, who, what."""


def listening() -> av.logging.Capture:
    """Collect what FFmpeg says on this thread within the block."""
    _switch_on()
    return av.logging.Capture()


def missed(lines: Lines) -> int:
    """Return how many packets are missing, as far as these lines tell."""
    return sum(int(found[1]) for _, _, line in lines if (found := _MISSED.match(line)))


@cache
def _switch_on() -> None:
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    # What nobody collects goes to this logger. It quotes URLs, and a damaged picture alone can make a hundred lines.
    logging.getLogger("libav").setLevel(logging.CRITICAL + 1)
