"""Pictures that a person enjoys looking at: boxes, names, trails, zones and lines on RGB arrays. The only user of
cv2's drawing functions."""

from __future__ import annotations

from streamvision.draw.annotate import annotate
from streamvision.draw.jpeg import to_jpeg
from streamvision.draw.palette import RGB, colour_of, ink_on
from streamvision.draw.text import put_label, text_px
from streamvision.draw.trails import Trail, Trails

__all__ = ["RGB", "Trail", "Trails", "annotate", "colour_of", "ink_on", "put_label", "text_px", "to_jpeg"]
