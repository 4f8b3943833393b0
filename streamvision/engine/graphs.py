"""Reading an ONNX file as a graph with its weights, by the onnx package."""

from __future__ import annotations

from pathlib import Path

import onnx

from streamvision.errors import EngineError


def read(path: Path, where: str) -> onnx.ModelProto:
    """Return a graph with its weights; ``where`` is what an error names as its place. Raises `EngineError`."""
    try:
        return onnx.load(path)
    except Exception as error:  # what reads it, protobuf, numpy or the file system, have no common base
        raise EngineError(f"{path} cannot be read, this is no ONNX file: {error}", where=where) from error
