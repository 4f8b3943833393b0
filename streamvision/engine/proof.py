"""Every new engine is compared with a reference backend on sample pictures before it may serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from streamvision.engine import parity, samples
from streamvision.engine.backends import Precision
from streamvision.engine.compile import Calibration
from streamvision.engine.manifest import Manifest
from streamvision.engine.parity import Parity
from streamvision.errors import BackendUnavailable, EngineError, PluginError
from streamvision.interfaces import Engine
from streamvision.types import UInt8

PICTURES: Final = 8
"""Pictures that an engine is judged by; of int8 calibration pictures as many again."""
PATIENCE_S: Final = 4.0
"""About how long the reference may take for them; a slow network is judged by fewer."""

_log = structlog.get_logger(__name__)


def prove(
    candidate: Engine,
    manifest: Manifest,
    precision: Precision,
    references: Sequence[tuple[str, Callable[[], Engine]]],
    calibration: Calibration | None,
) -> tuple[str, Parity] | None:
    """Compare an engine with the first reference that runs; return that one's name and the numbers.

    None where no reference can be used. Raises `EngineError` where the candidate fails.
    """
    for name, open_reference in references:
        try:
            reference = open_reference()
        except (BackendUnavailable, EngineError, PluginError) as error:
            _log.info("reference_not_usable", model=manifest.name, backend=name, error=str(error))
            continue
        try:
            pictures = _pictures(reference, precision, calibration)
            return name, parity.verify(candidate, reference, pictures, manifest.task, precision)
        finally:
            reference.close()
    return None


def _pictures(reference: Engine, precision: Precision, calibration: Calibration | None) -> list[UInt8]:
    """Return as many pictures as the reference can look at in a few seconds, at least one."""
    spec = reference.input
    pictures = samples.pictures(spec, limit=PICTURES)
    if precision == "int8" and calibration is not None:
        pictures = [each for pair in zip(calibration.pictures(spec), pictures, strict=False) for each in pair]
    batch = samples.batch_of(pictures[:1])
    started_s = time.perf_counter()
    reference.decode(batch, reference.submit(batch).result())
    seconds = max(time.perf_counter() - started_s, 1e-6)
    return pictures[: max(1, min(len(pictures), int(PATIENCE_S / seconds)))]
