"""What a capture is told: how a stream is to be read, and where its pictures go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamvision.capture.hangs import CallLimits
from streamvision.capture.masks import Polygon
from streamvision.channel import Channel
from streamvision.types import Frame, InputSpec


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a stream's pictures go: prepared for ``input``, into ``channel``; ``turn`` is called in between."""

    input: InputSpec
    channel: Channel[Frame]
    turn: Callable[[], object]


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """What is wanted of one stream.

    ``fps``: pictures analysed per media second at most, None for all. ``loop`` and ``pace`` matter to files only:
    start again at the end; run like a live camera or as fast as possible. ``masks``: polygons in 0-1 to hide.
    ``limits``: when a call of the source counts as hung.
    """

    stream: str
    input: InputSpec
    fps: float | None = None
    loop: bool = False
    pace: Literal["realtime", "fast"] = "fast"
    motion_gate: bool = False
    masks: Mapping[str, Polygon] = field(default_factory=dict)
    limits: CallLimits = field(default_factory=CallLimits)
