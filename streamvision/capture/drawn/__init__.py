"""What the drawn worlds share: the value that a drawn picture is."""

from __future__ import annotations

from dataclasses import dataclass

from streamvision.types import Float32, Int64, UInt8

CLASSES = ("person", "bicycle", "motorcycle", "car", "bus", "truck", "traffic light", "traffic sign")
"""What is drawn, in the order of the embedded network's classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One drawn picture and the truth about it.

    bgr (h,w,3) uint8. xyxy (N,4) float32 px: the visible and hidden extent of each thing, clipped to the picture;
    visible (N,) float32: which share of its pixels inside the picture nothing hides; names: its class; ids (N,) int64.
    drivable, lane (h,w) uint8: 1 where the road can be driven on (under nothing else: what stands on it covers it) and
    where a lane line is painted, 0 elsewhere, 255 where the picture does not tell.
    """

    bgr: UInt8
    xyxy: Float32
    visible: Float32
    names: tuple[str, ...]
    ids: Int64
    drivable: UInt8
    lane: UInt8
