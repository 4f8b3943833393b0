"""On what a report's figures were taken."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from streamvision import __version__

_PACKAGES = ("numpy", "openvino", "onnxruntime", "torch", "tensorrt-rtx", "opencv-python-headless", "pycocotools")


def environment() -> list[tuple[str, str]]:
    """Return rows of what and which: versions, processor, system."""
    rows = [
        ("streamvision", __version__), ("Python", platform.python_version()), ("system", platform.platform()),
        ("processor", _processor()),
    ]  # fmt: skip
    for name in _PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return rows


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{_model() or platform.machine()}, {cores} usable cores"


def _model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
