"""What a configuration says about the sink ``jsonl``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamvision.config.settings import Strict
from streamvision.paths import InnerPath
from streamvision.units import Seconds


class Rotation(Strict):
    """When a new file is begun, and what becomes of the old ones."""

    max_mb: Annotated[float, Field(gt=0)] | None = None
    """Begin a new file before this one becomes larger, in MB of 2^20 bytes."""
    every: Annotated[Seconds, Field(ge=60)] | None = None
    """Begin a new file with the first event after each such span, counted from 00:00 UTC: 1h, 1d."""
    keep: Annotated[int, Field(ge=1)] | None = None
    """How many old files are kept; without it, all."""
    total_mb: Annotated[float, Field(gt=0)] | None = None
    """How much room the old files may take together, in MB of 2^20 bytes; the oldest go first, the newest stays."""
    compress: Literal["none", "gzip"] = "none"
    """What is done to old files."""

    @model_validator(mode="after")
    def _has_a_reason(self) -> Self:
        if self.max_mb is None and self.every is None:
            raise ValueError("when does a new file begin? give max_mb or every, for example max_mb: 100")
        return self

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.max_mb is not None and self.total_mb is not None and self.total_mb < self.max_mb:
            raise ValueError(f"total_mb {self.total_mb:g} has no room for one file of max_mb {self.max_mb:g}")
        return self

    @property
    def max_bytes(self) -> float:
        """The size that no file exceeds, unless one line is longer."""
        return float("inf") if self.max_mb is None else self.max_mb * (1 << 20)

    @property
    def total_bytes(self) -> float:
        """What the old files may take together."""
        return float("inf") if self.total_mb is None else self.total_mb * (1 << 20)

    def span_of(self, utc_s: float) -> int:
        """Return the number of the span that a moment lies in; always 0 without ``every``."""
        return 0 if self.every is None else int(utc_s // self.every)


class JsonlOptions(Strict):
    """Options of the sink ``jsonl``."""

    path: Annotated[InnerPath, Field(description="the file; a relative path lies in state_dir")]
    rotate: Rotation | None = None
    """Begin new files by size or by time; without it, that is left to others (logrotate)."""

    def written(self, state_dir: Path) -> Path:
        """Return the file, a relative one taken from a folder."""
        return state_dir / Path(self.path).expanduser()
