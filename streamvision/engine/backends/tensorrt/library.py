"""TensorRT as it is installed, under either of its two module names, and what it logs."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from streamvision.errors import BackendUnavailable

RTX = "tensorrt_rtx"
MODULES = ("tensorrt", RTX)
"""TensorRT, and TensorRT for RTX: the same interface. The first that can be imported is used."""
_KEPT_LINES = 20

_log = structlog.get_logger(__name__)


def import_tensorrt(where: str) -> Any:
    """Return the module. Raises `BackendUnavailable`."""
    failures = []
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # its loader raises all three
            failures.append(f"{name}: {error}")
    raise BackendUnavailable(
        f"TensorRT cannot be imported ({'; '.join(failures)})",
        where=where,
        remedy="pip install 'streamvision[tensorrt]'",
    )


class Said:
    """The last warnings and errors of a TensorRT object: its calls return None and explain themselves only there."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def hear(self, severity: str, text: str) -> None:
        """Keep a line. Called by any thread."""
        self._lines.append(text)
        _log.debug("tensorrt", severity=severity, text=text)

    def text(self) -> str:
        """Return what was said, and forget it."""
        lines = list(dict.fromkeys(self._lines))
        self._lines.clear()
        return "; ".join(lines) or "it gave no reason"


def logger(trt: Any, said: Said) -> Any:
    """Return a TensorRT logger that tells ``said`` of warnings and errors."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if int(severity) <= int(trt.ILogger.WARNING):
                said.hear(str(severity), text)

    return Logger()


def monitor(trt: Any, progress: Callable[[float], None]) -> Any:
    """Return a progress monitor that tells how much of the outermost phase is done, or None for an old version."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outermost = ""
            self._steps = 1

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if not parent:
                self._outermost, self._steps = phase, max(1, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            if phase == self._outermost:
                progress(min(1.0, (step + 1) / self._steps))
            return True

        def phase_finish(self, phase: str) -> None:
            if phase == self._outermost:
                progress(1.0)

    return Monitor()
