"""In which numbers a network is trained: fp32, or where it pays in halves, with the weights in fp32 in any case."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from streamvision.errors import UsageError

Precision = Literal["fp32", "fp16", "bf16"]
Choice = Literal["auto", "fp32", "fp16", "bf16"]

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_WORTH_IT = 1.15
"""How many times as fast halves must be on a CPU to be taken for it."""
_TRIALS = 2


def choose(asked: Choice, device: torch.device, trial: Callable[[Precision], None]) -> Precision:
    """Return the precision to train in.

    ``auto`` is bf16 on a GPU that has it, else fp16 there; on a CPU with instructions for bf16 it is what is faster in
    ``trial``, a step that leaves no trace. Raises `UsageError` for fp16 without a GPU.
    """
    if asked == "fp16" and device.type != "cuda":
        raise UsageError("fp16 is trained on a GPU only", where="precision", remedy="take bf16, fp32 or auto")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if not _has_bf16():
        return "fp32"
    took = {each: _seconds(lambda each=each: trial(each)) for each in ("fp32", "bf16")}  # type: ignore[misc]
    return "bf16" if took["bf16"] * _WORTH_IT < took["fp32"] else "fp32"


def _has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _seconds(work: Callable[[], None]) -> float:
    """Return the shortest of some times, after a first one that does not count."""
    work()
    took = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which losses and predictions are computed."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def scaler_for(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps small gradients of fp16 from vanishing; it does nothing for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
