"""RGB arrays as JPEG files."""

from __future__ import annotations

import cv2

from streamvision.types import UInt8


def to_jpeg(rgb: UInt8, quality: int = 80) -> bytes:
    """Return an RGB picture (h,w,3) as a JPEG file."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise ValueError(f"cannot encode a picture of shape {rgb.shape} as JPEG")
    return bytes(data)


def to_file(rgb: UInt8, suffix: str) -> bytes:
    """Return an RGB picture (h,w,3) as a file of the kind that ``suffix`` names. Raises ValueError for others."""
    kind = suffix.lower()
    if kind in (".jpg", ".jpeg"):
        return to_jpeg(rgb, 92)
    if kind != ".png":
        raise ValueError(f"{suffix or 'no suffix'!r} names no kind of picture")
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"cannot encode a picture of shape {rgb.shape} as PNG")
    return bytes(data)
