"""What can be made of `types.Masks`: bitmaps of any size, outlines, COCO run lengths. Nothing is made until asked for.

A mask is a field: bilinear between the centres of its raster's samples, constant from the outermost centres to the
border of its region, and nothing beyond. A pixel belongs to the object where the field at the pixel's centre is
positive (``align_corners=False`` in PyTorch's words).
"""

from __future__ import annotations

from streamvision.masks.outline import polygon, polygons
from streamvision.masks.raster import Patch, bitmap, bitmaps, patch
from streamvision.masks.rle import from_text, rle, run_lengths, to_text

__all__ = ["Patch", "bitmap", "bitmaps", "from_text", "patch", "polygon", "polygons", "rle", "run_lengths", "to_text"]
