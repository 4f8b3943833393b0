"""A whole explanation: the question, the map, how far it can be trusted; as a picture and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from streamvision.draw.saliency import draw_saliency
from streamvision.explain import targets, trust
from streamvision.explain.occlusion import scores
from streamvision.explain.saliency import Saliency
from streamvision.explain.targets import Target
from streamvision.interfaces import Engine
from streamvision.types import Frame, UInt8


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """``doubts``: why the map should not be believed; empty if nothing speaks against it."""

    model: str
    target: Target
    saliency: Saliency
    curves: trust.Curves
    pointing: trust.Pointing | None = None
    doubts: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the map itself."""
        found: dict[str, Any] = {
            "model": self.model, "method": self.saliency.method, "target": targets.as_json(self.target),
            "score": round(self.saliency.score, 4),
        }  # fmt: skip
        if self.saliency.masks:
            found |= {"masks": self.saliency.masks, "agreement": self.saliency.agreement}
        return found | trust.as_json(self.curves, self.pointing) | {"doubts": self.doubts}

    def drawn(self, rgb: UInt8) -> UInt8:
        """Return the picture (h,w,3), of any size, with the map, the box and what was measured."""
        box = self.target.xyxy
        if box is not None:
            width, height = rgb.shape[1] / self.saliency.letterbox.source_wh[0], self.saliency.letterbox.source_wh[1]
            box = (box[0] * width, box[1] * rgb.shape[0] / height, box[2] * width, box[3] * rgb.shape[0] / height)
        return draw_saliency(
            rgb, self.saliency.values, xyxy=box, label=f"{self.target.label}  {self.saliency.score:.0%}",
            legend=self._legend(), top=self._top(),
        )  # fmt: skip

    def _legend(self) -> list[str]:
        lines = [f"{self.model}, {self.saliency.method}"]
        measured = f"insertion {self.curves.insertion_area:.2f}   deletion {self.curves.deletion_area:.2f}"
        if self.pointing is not None:
            measured += f"   in the box {self.pointing.energy:.0%} (even {self.pointing.even:.0%})"
        return [*lines, measured, *(f"doubtful: {doubt}" for doubt in self.doubts)]

    def _top(self) -> str:
        if self.saliency.method == "gradcam":
            return "most"
        return f"{float(self.saliency.values.max()):.3f} more score when shown"


def concluded(engine: Engine, frame: Frame, model: str, target: Target, saliency: Saliency) -> Explanation:
    """Measure a map on the engine, the score too, and return the explanation. Raises what the engine raises."""
    saliency = replace(saliency, score=next(scores(engine, frame, [frame.pixels], target)))
    measured = trust.curves(engine, frame, target, saliency)
    placed = None if target.xyxy is None else trust.pointing(saliency, target.xyxy)
    return Explanation(model, target, saliency, measured, placed, trust.doubts(saliency, measured))
