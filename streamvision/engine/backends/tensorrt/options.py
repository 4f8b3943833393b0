"""What a user may say about the TensorRT backend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]


class Options(BaseModel):
    """How TensorRT compiles and runs a network.

    ``contexts``: batches in the GPU at the same time. ``batch``: the largest batch, by default what the model's
    ``max_batch`` says; ``opt_batch``: the one to be fastest at, by default the largest. ``cuda_graphs``: record the
    launches of each batch size once and repeat them with one call. ``workspace_mb``: memory that layers may use while
    they compute. ``timing_cache``: a file that keeps what was measured while compiling (TensorRT for RTX measures
    nothing). ``tf32``: compute fp32 convolutions faster with ten bits of fraction. ``device``: which GPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contexts: Annotated[int, Field(ge=1, le=16)] = 2
    batch: Count | None = None
    opt_batch: Count | None = None
    cuda_graphs: bool = True
    workspace_mb: Count | None = None
    timing_cache: Path | None = None
    tf32: bool = False
    device: Annotated[int, Field(ge=0)] = 0
