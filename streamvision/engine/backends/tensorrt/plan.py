"""The file of a compiled engine: a line that says what it is, then TensorRT's own bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from streamvision.errors import StaleEngine

_MAGIC = b"streamvision-tensorrt-1 "
_REMEDY = "compile it again"


@dataclass(frozen=True, slots=True)
class Plan:
    """A serialised engine, which library made it, and its outputs in the network's order."""

    module: str
    version: str
    outputs: tuple[str, ...]
    engine: bytes

    def pack(self) -> bytes:
        """Return the file's content."""
        head = {key: value for key, value in asdict(self).items() if key != "engine"}
        return _MAGIC + json.dumps(head).encode() + b"\n" + self.engine


def unpack(content: bytes, trt: Any, where: str) -> Plan:
    """Read a file's content. Raises `StaleEngine` for no engine, or one that another library made."""
    head, _, engine = content.partition(b"\n")
    try:
        if not head.startswith(_MAGIC):
            raise ValueError("its first line is not that of an engine")
        said = json.loads(head.removeprefix(_MAGIC))
        plan = Plan(str(said["module"]), str(said["version"]), tuple(said["outputs"]), engine)
    except (ValueError, KeyError, TypeError) as error:
        raise StaleEngine(f"this is no TensorRT engine: {error}", where=where, remedy=_REMEDY) from error
    made_by, here = (plan.module, plan.version), (trt.__name__, trt.__version__)
    if made_by != here:
        raise StaleEngine(
            f"an engine of {' '.join(made_by)} does not run on {' '.join(here)}", where=where, remedy=_REMEDY
        )
    return plan
