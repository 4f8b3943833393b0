"""The matrix as data: each fault over each transport, and what the daemon must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["tcp", "udp"]
Seen = Literal["nothing", "damage", "outage", "slow"]
"""``slow``: nothing, or an outage where the connection has become too slow for the stream."""
Event = Literal["link", "cut", "camera moves", "host moves"]

SILENT = frozenset({"timeout", "connect"})
"""Reasons that fit a camera that cannot be reached."""
SLOW = frozenset({"behind", "timeout", "connect", "end"})


@dataclass(frozen=True)
class Row:
    """One camera: what befalls its link (fields of `link_emulator.Fault` for ``link``), and what must be seen."""

    name: str
    transport: Transport
    seen: Seen
    event: Event = "link"
    fault: Mapping[str, float] = field(default_factory=dict)
    reasons: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """The stream's name, and the link's."""
        return f"{self.name}-{self.transport}"


LATE = {"delay_s": 0.3, "jitter_s": 0.1}
MIXED = {"reorder": 0.2, "reorder_s": 0.03}
NARROW = {"rate_bps": 60_000.0, "queue_bytes": 16_000}
"""A third of what a camera of this test sends."""

ROWS = (
    Row("loss1", "tcp", "nothing", fault={"loss": 0.01}),
    Row("loss1", "udp", "damage", fault={"loss": 0.01}),
    Row("loss5", "tcp", "slow", fault={"loss": 0.05}, reasons=SLOW),
    Row("loss5", "udp", "damage", fault={"loss": 0.05}),
    Row("loss20", "tcp", "slow", fault={"loss": 0.2}, reasons=SLOW),
    Row("loss20", "udp", "damage", fault={"loss": 0.2}),
    Row("late", "tcp", "nothing", fault=LATE),
    Row("late", "udp", "nothing", fault=LATE),
    Row("mixed", "tcp", "nothing", fault=MIXED),
    Row("mixed", "udp", "nothing", fault=MIXED),
    Row("narrow", "tcp", "outage", fault=NARROW, reasons=SLOW),
    Row("narrow", "udp", "damage", fault=NARROW, reasons=SLOW),
    Row("down", "tcp", "outage", "cut", reasons=SILENT),
    Row("down", "udp", "outage", "cut", reasons=SILENT),
    Row("camera-moves", "tcp", "outage", "camera moves", reasons=SILENT),
    # Pictures go on from the new address, as long as the server keeps the session.
    Row("camera-moves", "udp", "slow", "camera moves", reasons=SILENT),
    Row("host-moves", "tcp", "outage", "host moves", reasons=SILENT),
    Row("host-moves", "udp", "outage", "host moves", reasons=SILENT),
)
