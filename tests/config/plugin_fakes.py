"""Plug-ins that configuration tests load in place of the real ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamvision import plugins
from streamvision.errors import PluginError
from streamvision.units import Seconds


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoOptions(Frozen):
    pass


class RtspOptions(Frozen):
    transport: Literal["tcp", "udp", "auto"] = "auto"
    open_timeout: Seconds = 10.0
    read_timeout: Seconds = 5.0


class FileOptions(Frozen):
    loop: bool = False
    pace: bool = True


class ZoneOptions(Frozen):
    zone: str
    classes: tuple[str, ...] | None = None
    min_dwell: Seconds = 0.0


class LineOptions(Frozen):
    line: str
    classes: tuple[str, ...] | None = None
    direction: Literal["both", "a_to_b", "b_to_a"] = "both"


class JsonlOptions(Frozen):
    path: str


class TrackerOptions(Frozen):
    high_score: Annotated[float, Field(ge=0, le=1)] = 0.5


class BackendOptions(Frozen):
    workers: Annotated[int, Field(ge=1)] | None = None


OPTIONS: dict[tuple[str, str], type[BaseModel]] = {
    ("backend", "openvino"): BackendOptions,
    ("source", "rtsp"): RtspOptions,
    ("source", "file"): FileOptions,
    ("source", "http"): NoOptions,
    ("source", "images"): NoOptions,
    ("source", "v4l2"): NoOptions,
    ("source", "demo"): NoOptions,
    ("tracker", "bytetrack"): TrackerOptions,
    ("rule", "zone"): ZoneOptions,
    ("rule", "line"): LineOptions,
    ("sink", "jsonl"): JsonlOptions,
    ("sink", "stdout"): NoOptions,
}


def load(kind: plugins.Kind, name: str) -> Any:
    """Stand in for `plugins.load`: unknown names give the real error."""
    options = OPTIONS.get((kind, name))
    if options is not None:
        return type("Fake", (), {"Options": options})
    if name in plugins.names(kind):
        raise PluginError(f"the {kind} {name!r} cannot be imported")
    return plugins.load(kind, name)
