"""One analysed picture, drawn: masks, zones, lines, trails, boxes with names, and a slim header.

Strokes, text and spacing scale with the picture. Coordinates of tracks are mapped from source pixels to the size of
the picture at hand; zones and lines are given in parts of the picture, 0-1. Everything per pixel is cv2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.draw.instances import draw_instances
from streamvision.draw.label_maps import draw_label_maps, put_legend
from streamvision.draw.palette import DARK, LINE, RGB, WHITE, ZONE, colour_of, ink_on
from streamvision.draw.strokes import SHIFT, fixed, point, polyline, stroke_px
from streamvision.draw.text import label_wh, put_label, text_px
from streamvision.draw.trails import Trail
from streamvision.types import Analysis, UInt8

Shape = Sequence[tuple[float, float]]
"""Points in parts of the picture, 0-1, origin top left."""

_FAINT = 0.45


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """A box to draw: corners in picture px; ``row`` of the detections, -1 where it is none of this picture."""

    row: int
    xyxy: NDArray[np.float32]
    colour: RGB
    label: str
    visible: bool
    firm: bool


def annotate(
    rgb: UInt8,
    analysis: Analysis,
    *,
    zones: Mapping[str, Shape] | None = None,
    lines: Mapping[str, Shape] | None = None,
    trails: Sequence[Trail] = (),
    header: bool = True,
) -> UInt8:
    """Return a copy of ``rgb`` (h,w,3), of any size, with everything that is known about it.

    Tracks, with their masks and keypoints, are coloured by id, plain detections (shown where nothing is tracked) by
    class; label maps lie below all else. Lost tracks are dashed and faint, tentative ones thin and without a name.
    ``zones`` are polygons and ``lines`` two points each, 0-1.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    size_wh = (canvas.shape[1], canvas.shape[0])
    px = text_px(size_wh)
    scale = np.divide(size_wh, analysis.info.size_wh, dtype=np.float32)
    items = _items(analysis, scale)
    legend = draw_label_maps(canvas, analysis.segmentation)
    for name, shape in (zones or {}).items():
        _zone(canvas, name, _scaled(shape, size_wh), px)
    for name, shape in (lines or {}).items():
        _line(canvas, name, _scaled(shape, size_wh), px)
    _faint(canvas, [item for item in items if not item.visible], trails, scale)
    in_sight = [(item.row, item.colour) for item in items if item.visible and item.row >= 0]
    draw_instances(canvas, analysis.detections, in_sight, analysis.info.size_wh)
    for item in items:
        if item.visible:
            _box(canvas, item)
    top = _header(canvas, analysis, px) if header else 0
    for item in items:
        if item.visible and item.firm:
            _name(canvas, item, px, top)
    put_legend(canvas, legend, px)
    return canvas


def _items(analysis: Analysis, scale: NDArray[np.float32]) -> list[_Item]:
    tracks, names = analysis.tracks, analysis.class_names
    if not len(tracks):
        found = analysis.detections
        return [
            _Item(row, box, colour_of(kind), f"{_class(names, kind)}  {score:.0%}", True, True)
            for row, (box, kind, score) in enumerate(
                zip(found.xyxy * np.tile(scale, 2), found.class_id.tolist(), found.score.tolist(), strict=True)
            )
        ]
    boxes = tracks.xyxy * np.tile(scale, 2)
    rows = zip(
        tracks.ids.tolist(), tracks.class_id.tolist(), tracks.score.tolist(), tracks.visible.tolist(),
        tracks.confirmed.tolist(), boxes, tracks.det_index.tolist(), strict=True,
    )  # fmt: skip
    return [
        _Item(row, box, colour_of(track_id), _words(analysis, track_id, _class(names, kind), score), visible, firm)
        for track_id, kind, score, visible, firm, box, row in rows
    ]


def _words(analysis: Analysis, track_id: int, kind: str, score: float) -> str:
    """Return a track's name: what it is, its id, what second networks say of it, and how sure the first one is."""
    said = [attribute.value for attribute in analysis.attributes.get(track_id, {}).values()]
    return "  ".join([f"{kind} {track_id}", *said, f"{score:.0%}"])


def _class(names: Sequence[str], kind: int) -> str:
    return names[kind] if 0 <= kind < len(names) else f"class {kind}"


def _scaled(shape: Shape, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(np.asarray(shape, np.float32) * np.asarray(size_wh, np.float32), np.float32)


def _zone(canvas: UInt8, name: str, points: NDArray[np.float32], px: int) -> None:
    """Tint a polygon, outline it, and write its name at its top left corner."""
    part = _around(canvas, points, 0)
    tinted = part.copy()
    corner = np.clip(np.floor(points.min(axis=0)), 0, (canvas.shape[1] - 1, canvas.shape[0] - 1))
    cv2.fillPoly(tinted, [fixed(np.asarray(points - corner, np.float32))], ZONE, cv2.LINE_8, SHIFT)
    part[:] = cv2.addWeighted(tinted, 0.16, part, 0.84, 0)
    polyline(canvas, points, ZONE, stroke_px(canvas), closed=True)
    _tag(canvas, name, points[np.argmin(points.sum(axis=1))], px, ZONE)


def _line(canvas: UInt8, name: str, points: NDArray[np.float32], px: int) -> None:
    """Draw a counting line with the arrow of its ``a_to_b`` direction: from its left side to its right side."""
    a, b = points[0], points[-1]
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-6)
    across = np.asarray((-along[1], along[0]), np.float32)
    middle = (a + b) / 2
    stroke = stroke_px(canvas)
    shaft = np.stack((middle - across * px * 0.9, middle + across * px * 1.3))
    tip = shaft[1]
    barbs = np.stack((tip - across * px * 0.6 + along * px * 0.45, tip, tip - across * px * 0.6 - along * px * 0.45))
    for colour, extra in ((DARK, 2), (LINE, 0)):
        for piece in (np.stack((a, b)), shaft, barbs):
            polyline(canvas, piece, colour, stroke * 2 + extra)
    for end in (a, b):
        cv2.circle(canvas, point(end), (stroke * 3) << SHIFT, LINE, -1, cv2.LINE_AA, SHIFT)
    _tag(canvas, name, a, px, LINE)


def _tag(canvas: UInt8, name: str, at: NDArray[np.float32], px: int, colour: RGB) -> None:
    """Write a zone's or line's name just inside the picture near a point."""
    width, height = label_wh(name, px)
    x = int(np.clip(at[0] + px * 0.4, 0, max(0, canvas.shape[1] - width)))
    y = int(np.clip(at[1] + px * 0.4, 0, max(0, canvas.shape[0] - height)))
    put_label(canvas, name, (x, y), px, ink=colour, fill=DARK, opacity=0.55)


def _faint(canvas: UInt8, lost: Sequence[_Item], trails: Sequence[Trail], scale: NDArray[np.float32]) -> None:
    """Draw what is past, half transparent: trails, thinner the older, and dashed boxes of lost tracks."""
    if not lost and not trails:
        return
    stroke = stroke_px(canvas)
    paths = [trail.points * scale for trail in trails]
    part = _around(canvas, np.concatenate([*paths, *(item.xyxy.reshape(2, 2) for item in lost)]), stroke * 4)
    under = part.copy()
    for trail, path in zip(trails, paths, strict=True):
        _trail(canvas, path, trail.age_s, colour_of(trail.track_id), stroke)
    for item in lost:
        _dashed(canvas, item.xyxy, item.colour, stroke)
    part[:] = cv2.addWeighted(part, 1 - _FAINT, under, _FAINT, 0)


def _trail(canvas: UInt8, points: NDArray[np.float32], age_s: NDArray[np.float32], colour: RGB, stroke: int) -> None:
    """Draw a path in three pieces of growing strength, the oldest third thinnest."""
    oldest = float(age_s[0])
    cuts = [0, *np.searchsorted(-age_s, (-oldest * 2 / 3, -oldest / 3)).tolist(), len(points)]
    for start, end, thick in zip(cuts[:-1], cuts[1:], (stroke, stroke + 1, stroke * 2 + 1), strict=True):
        if end > start:
            polyline(canvas, points[max(0, start - 1) : end], colour, thick)


def _around(canvas: UInt8, points: NDArray[np.float32], margin: int) -> UInt8:
    """Return the part of a picture that holds all points, as a view."""
    height, width = canvas.shape[:2]
    low = np.clip(np.floor(points.min(axis=0)) - margin, 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + margin, 1, (width, height)).astype(int)
    return canvas[low[1] : high[1], low[0] : high[0]]


def _dashed(canvas: UInt8, xyxy: NDArray[np.float32], colour: RGB, thick: int) -> None:
    x1, y1, x2, y2 = xyxy.tolist()
    corners = np.asarray(((x1, y1), (x2, y1), (x2, y2), (x1, y2)), np.float32)
    dash = max(4.0, min(canvas.shape[:2]) / 70)
    pieces: list[NDArray[np.int32]] = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        steps = max(1, int(np.linalg.norm(end - start) / dash))
        parts = np.arange(0, steps + 1, dtype=np.float32)[:, None] / steps
        ticks = fixed(start + (end - start) * parts)
        pieces += np.split(ticks[: len(ticks) // 2 * 2], len(ticks) // 2)
    cv2.polylines(canvas, pieces, False, colour, thick, cv2.LINE_AA, SHIFT)


def _box(canvas: UInt8, item: _Item) -> None:
    """Outline a box over a dark halo, with strong corners where it is believed in."""
    x1, y1, x2, y2 = item.xyxy.tolist()
    stroke = stroke_px(canvas)
    low, high = point(item.xyxy[:2]), point(item.xyxy[2:])
    cv2.rectangle(canvas, low, high, DARK, stroke + 1, cv2.LINE_AA, SHIFT)
    cv2.rectangle(canvas, low, high, item.colour, stroke, cv2.LINE_AA, SHIFT)
    if item.firm:
        arm = max(3.0, min(x2 - x1, y2 - y1) * 0.22)
        hooks = [
            fixed(np.asarray(((x + dx, y), (x, y), (x, y + dy)), np.float32))
            for x, y, dx, dy in ((x1, y1, arm, arm), (x2, y1, -arm, arm), (x2, y2, -arm, -arm), (x1, y2, arm, -arm))
        ]
        cv2.polylines(canvas, hooks, False, item.colour, stroke * 2 + 1, cv2.LINE_AA, SHIFT)


def _name(canvas: UInt8, item: _Item, px: int, top: int) -> None:
    """Write the name above the box, or inside it where there is no room between it and ``top``."""
    width, height = label_wh(item.label, px)
    gap = stroke_px(canvas) + 1
    x = int(np.clip(item.xyxy[0], 0, max(0, canvas.shape[1] - width)))
    above = int(item.xyxy[1]) - height - gap
    y = above if above >= top else int(max(item.xyxy[1], top)) + gap
    put_label(canvas, item.label, (x, y), px, ink=ink_on(item.colour), fill=item.colour)


def _header(canvas: UInt8, analysis: Analysis, px: int) -> int:
    """Write stream, time and counts on a slim dark strip along the top, and return its height.

    What does not fit is left out, the counts first.
    """
    pad = max(2, px // 3)
    strip = canvas[: label_wh("0", px)[1] + pad]
    strip[:] = cv2.addWeighted(strip, 0.38, np.full_like(strip, DARK[0]), 0.62, 0)
    left = pad
    width = canvas.shape[1]
    counts = _counts(analysis)
    right = width - label_wh(counts, px)[0] - pad if counts else width
    stamp = f"{analysis.info.captured_at:%Y-%m-%d %H:%M:%S}.{analysis.info.captured_at.microsecond // 100000}"
    for text, ink in ((analysis.info.stream, WHITE), (stamp, (176, 186, 200))):
        if left + label_wh(text, px)[0] <= width:
            put_label(canvas, text, (left, pad // 2), px, ink=ink, fill=DARK, opacity=0.0)
        left += label_wh(text, px)[0]
    if counts and right >= left:
        put_label(canvas, counts, (right, pad // 2), px, ink=WHITE, fill=DARK, opacity=0.0)
    return len(strip)


def _counts(analysis: Analysis) -> str:
    """Return what is in sight, most frequent first: ``person ×3   car ×1``."""
    tracks = analysis.tracks
    kinds = tracks.class_id[tracks.visible & tracks.confirmed] if len(tracks) else analysis.detections.class_id
    found = Counter(_class(analysis.class_names, kind) for kind in kinds.tolist())
    return "   ".join(f"{name} ×{count}" for name, count in found.most_common(4))
