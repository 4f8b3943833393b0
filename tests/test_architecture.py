"""The import directions of the design, read from the syntax trees.

Arrows point to importers:

    errors, types, geometry, masks, clock, units, redact <- interfaces, channel, config, plugins, metrics, health,
    resources, draw, notify, journal, timesync <- capture | batch | engine | track | rules | sinks | record | web <-
    analysis, pipeline, offline, status <- daemon, install, benchmark <- cli

Siblings never import each other, and an outside library belongs to the folders that are named for it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamvision

ROOT = Path(streamvision.__file__).parent

LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {"errors", "types", "geometry", "masks", "clock", "units", "redact", "resources", "files", "header", "paths"}
    ),
    frozenset(
        {"interfaces", "channel", "config", "plugins", "metrics", "health", "draw", "notify", "journal", "timesync"}
    ),
    frozenset({"capture", "batch", "engine", "track", "rules", "sinks", "record", "web"}),
    frozenset({"analysis", "attributes", "pipeline", "offline", "status", "export", "dataset", "distort"})
    | {"asides", "collect", "evaluate", "explain", "options", "changes"},
    frozenset({"daemon", "install", "reload", "benchmark", "train", "compress"}),
    frozenset({"cli", "__main__"}),
)
SIBLINGS = LAYERS[2]

LIBRARIES: dict[str, set[str]] = {
    "av": {"capture", "record", "distort"},
    "cv2": {"collect", "explain", "masks", "capture", "draw", "engine", "dataset", "distort", "train"},
    "numpy": {
        "types",
        "geometry",
        "masks",
        "interfaces",
        "draw",
        "capture",
        "engine",
        "track",
        "rules",
        "analysis",
        "attributes",
        "collect",
        "explain",
        "dataset",
        "distort",
        "evaluate",
        "train",
        "cli",
        "compress",
    },
    "openvino": {"engine"},
    "onnx": {"engine", "compress"},
    "onnxruntime": {"engine"},
    "tensorrt": {"engine"},
    "tensorrt_rtx": {"engine"},
    "cuda": {"engine"},
    "pycocotools": {"evaluate"},
    "jinja2": {"evaluate"},
    "scipy": {"track", "engine"},
    "ruamel": {"config", "dataset", "engine", "explain", "export", "train", "compress"},
    "pydantic": {
        "config",
        "paths",
        "units",
        "capture",
        "engine",
        "track",
        "rules",
        "sinks",
        "options",
        "changes",
        "export",
        "dataset",
        "train",
        "compress",
    },
    "pydantic_core": {"config", "units"},
    "prometheus_client": {"metrics"},
    "httpx": {"sinks"},
    "paho": {"sinks"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "h11": {"web"},  # what uvicorn speaks HTTP with
    "anyio": {"web"},
    "typer": {"cli"},
    "rich": {"cli", "engine", "sinks"},
    "ulid": {"pipeline", "sinks"},
    "confluent_kafka": {"sinks"},
    "redis": {"sinks"},
    "nats": {"sinks"},
    "psycopg": {"sinks"},
    "captum": {"explain"},
    "torch": {"explain", "export", "engine", "train", "compress"},
    "torchvision": {"explain", "export", "train", "compress"},
    "torch_pruning": {"compress"},
    "segmentation_models_pytorch": {"export", "train"},
}
EVERYWHERE = {"structlog", "streamvision"}


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            yield from _members(node)


def _members(node: ast.ImportFrom) -> Iterator[str]:
    module = node.module or ""
    if module == "streamvision":
        yield from (f"streamvision.{alias.name}" for alias in node.names)
    else:
        yield module


def part_of(path: Path) -> str:
    """Return the part of the tree that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def layer_of(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path):
    own = part_of(path)
    for module in imports(path):
        top, _, rest = module.partition(".")
        if top != "streamvision" or not rest or rest == "__version__":
            continue
        other = rest.split(".")[0]
        if other == own:
            continue
        assert layer_of(other) <= layer_of(own), f"{own} must not import {module}: it lies above"
        assert not (own in SIBLINGS and other in SIBLINGS), f"{own} must not import its sibling {module}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_outside_libraries_stay_where_they_belong(path: Path):
    own = part_of(path)
    for module in imports(path):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names or top in EVERYWHERE:
            continue
        assert top in LIBRARIES, f"{own} imports {top}, which the design does not know"
        assert own in LIBRARIES[top], f"{own} must not import {top}: it belongs to {sorted(LIBRARIES[top])}"


def test_every_part_has_a_layer():
    parts = {part_of(path) for path in files()}
    assert parts <= frozenset().union(*LAYERS)


def test_there_are_no_cycles_inside_a_part():
    for part in sorted({part_of(path) for path in files()}):
        graph = _graph(part)
        for start in graph:
            assert start not in _reachable(graph, start), f"{start} imports itself in the end"


def _graph(part: str) -> dict[str, set[str]]:
    """Return which module of a part imports which, at module level."""
    names = {_module(path): path for path in files() if part_of(path) == part}
    return {
        name: {target for target in _top_level(path) if target in names and target != name}
        for name, path in names.items()
    }


def _top_level(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _module(path: Path) -> str:
    return ".".join(("streamvision", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph[name]
    return seen
