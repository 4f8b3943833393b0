"""Settings -> wired stages, and how they change while they run."""

from __future__ import annotations

from streamvision.pipeline.flow import Pipeline
from streamvision.pipeline.parts import Abandoned, Broken
from streamvision.pipeline.wiring import new_id

__all__ = ["Abandoned", "Broken", "Pipeline", "new_id"]
