"""Settings -> wired stages, and how they change while they run."""

from __future__ import annotations

from streamvision.pipeline.flow import Pipeline
from streamvision.pipeline.parts import Abandoned, Broken

__all__ = ["Abandoned", "Broken", "Pipeline"]
