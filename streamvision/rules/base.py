"""What rules share: anchor points, the choice of classes, memory per track, and events in the past.

Rules measure in picture heights (x and y divided by the picture's height): the unit is the same in both directions
and stays when a camera changes its resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.errors import UsageError
from streamvision.interfaces import RuleContext as RuleContext
from streamvision.interfaces import Scene
from streamvision.types import Event, FrameInfo, Phase, TrackRef

Float64 = NDArray[np.float64]


class Anchor(StrEnum):
    """The point of a box that stands for the object."""

    BOTTOM_CENTRE = "bottom_centre"
    BOTTOM_LEFT = "bottom_left"
    BOTTOM_RIGHT = "bottom_right"
    CENTRE = "centre"
    CENTRE_LEFT = "centre_left"
    CENTRE_RIGHT = "centre_right"
    TOP_CENTRE = "top_centre"
    TOP_LEFT = "top_left"
    TOP_RIGHT = "top_right"


_SHARE = {
    Anchor.BOTTOM_CENTRE: (0.5, 1.0), Anchor.BOTTOM_LEFT: (0.0, 1.0), Anchor.BOTTOM_RIGHT: (1.0, 1.0),
    Anchor.CENTRE: (0.5, 0.5), Anchor.CENTRE_LEFT: (0.0, 0.5), Anchor.CENTRE_RIGHT: (1.0, 0.5),
    Anchor.TOP_CENTRE: (0.5, 0.0), Anchor.TOP_LEFT: (0.0, 0.0), Anchor.TOP_RIGHT: (1.0, 0.0),
}  # fmt: skip


def anchor_points(boxes: Float64, anchor: Anchor) -> Float64:
    """Return the anchors (N,2) of boxes (N,4)."""
    share = _SHARE[anchor]
    return boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) * share


COLUMNS: list[tuple[Any, ...]] = [
    ("id", np.int64), ("seen_s", np.float64), ("size", np.float64), ("place", np.float64, 2),
    ("class_id", np.int32), ("score", np.float32), ("xyxy", np.float32, 4), ("velocity", np.float32, 2),
]  # fmt: skip
"""What is remembered of every track: when, how large and where it was last seen, and what an event quotes."""


class Memory:
    """One row per track, sorted by id, in a structured array: as vectorised as the tracks themselves."""

    def __init__(self, columns: Sequence[tuple[Any, ...]], blank: Mapping[str, float]) -> None:
        """``columns`` come on top of `COLUMNS`; a new row is 0 except for what ``blank`` says."""
        dtype = np.dtype([*COLUMNS, *columns])
        self._blank = np.zeros(1, dtype)
        for name, value in blank.items():
            self._blank[name] = value
        self.rows: NDArray[np.void] = np.zeros(0, dtype)

    def __len__(self) -> int:
        return len(self.rows)

    def unknown(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which ids (N,) have no row yet."""
        if len(self.rows) == 0:
            return np.ones(len(ids), np.bool_)
        own = self.rows["id"]
        at = np.minimum(np.searchsorted(own, ids), len(own) - 1)
        return np.asarray(own[at] != ids, np.bool_)

    def align(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row numbers (N,) of ids (N,), after adding a blank row for each unknown one."""
        fresh = self.unknown(ids)
        if fresh.any():
            new = np.repeat(self._blank, int(fresh.sum()))
            new["id"] = ids[fresh]
            self.rows = np.concatenate([self.rows, new])
            self.sort()
        return np.asarray(np.searchsorted(self.rows["id"], ids), np.int64)

    def sort(self) -> None:
        """Put rows into order again after ids were changed in place."""
        self.rows = self.rows[np.argsort(self.rows["id"], kind="stable")]

    def keep(self, wanted: NDArray[np.bool_]) -> None:
        """Drop the rows (R,) that are not wanted."""
        if not wanted.all():
            self.rows = self.rows[wanted]

    def clear(self) -> None:
        """Forget everything."""
        self.rows = self.rows[:0]


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """The wanted objects that this very picture shows, in picture heights: boxes (N,4), size (N,): root of the area."""

    ids: NDArray[np.int64]
    boxes: Float64
    size: Float64
    confirmed: NDArray[np.bool_]
    age_s: Float64
    limit: Float64
    """The picture's own width and height."""


def corners_of(kind: str, name: str, shapes: Mapping[str, Sequence[Sequence[float]]], context: RuleContext) -> Float64:
    """Return the points (P,2) of a zone or line that a rule names. Raises `UsageError` if the stream has none such."""
    if name not in shapes:
        raise UsageError(
            f"there is no {kind} {name!r}", where=f"stream {context.stream}, rule {context.rule}",
            remedy=f"the stream has: {', '.join(shapes) or 'none'}",
        )  # fmt: skip
    return np.asarray(shapes[name], np.float64)


class Watch:
    """Picks the objects that a rule is about, and writes down what it saw of them."""

    def __init__(self, classes: Sequence[str]) -> None:
        """No ``classes`` means all."""
        self._classes = frozenset(classes)
        self._names: Sequence[str] | None = None
        self._wanted: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def look(self, scene: Scene) -> tuple[NDArray[np.bool_], Sight]:
        """Return the mask over the scene's tracks and what it selects: of a wanted class, seen in this picture."""
        tracks = scene.tracks
        mask = np.asarray(tracks.visible, np.bool_)
        if self._classes:
            mask = mask & self._table(scene.class_names)[tracks.class_id]
        width, height = scene.info.size_wh
        boxes = tracks.xyxy[mask].astype(np.float64) / height
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
        size = np.sqrt(sides[:, 0] * sides[:, 1])
        limit = np.array([width / height, 1.0])
        age_s = tracks.age_s[mask].astype(np.float64)
        return mask, Sight(tracks.ids[mask], boxes, size, tracks.confirmed[mask], age_s, limit)

    def _table(self, names: Sequence[str]) -> NDArray[np.bool_]:
        if names is not self._names:
            self._names = names
            self._wanted = np.array([name in self._classes for name in names], np.bool_)
        return self._wanted

    @staticmethod
    def note(memory: Memory, at: NDArray[np.int64], scene: Scene, mask: NDArray[np.bool_], sight: Sight) -> None:
        """Write what was seen into the rows ``at``."""
        rows, tracks = memory.rows, scene.tracks
        rows["seen_s"][at] = scene.info.media_s
        rows["size"][at] = sight.size
        for name in ("class_id", "score", "xyxy", "velocity"):
            rows[name][at] = getattr(tracks, name)[mask]


def track_ref(row: np.void, class_names: Sequence[str]) -> TrackRef:
    """Return how an event quotes the track of a `Memory` row."""
    x1, y1, x2, y2 = row["xyxy"].tolist()
    vx, vy = row["velocity"].tolist()
    return TrackRef(int(row["id"]), class_names[row["class_id"]], float(row["score"]), (x1, y1, x2, y2), (vx, vy))


@dataclass(frozen=True, slots=True)
class Reporter:
    """Builds the events of one rule."""

    context: RuleContext
    kind: str

    def event(
        self,
        info: FrameInfo,
        phase: Phase,
        media_s: float,
        track: TrackRef | None,
        data: Mapping[str, Any],
        evidence: Mapping[str, Any],
        happening: str | None = None,
    ) -> Event:
        """Return an event that happened at ``media_s``, which may lie before the picture ``info`` that proved it."""
        event_id = self.context.new_id()
        time = info.captured_at - timedelta(seconds=info.media_s - media_s)
        return Event(
            event_id, self.kind, phase, self.context.stream, self.context.rule, happening or event_id,
            media_s, time, info.clock, info.uncertainty_s, track, data, evidence,
        )  # fmt: skip
