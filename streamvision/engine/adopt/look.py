"""What can be seen of a network without knowing what it is: its picture, its outputs, and what it says of a sample."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from streamvision.engine import samples
from streamvision.engine.backends import Network
from streamvision.engine.backends.onnxruntime import OnnxRuntimeBackend
from streamvision.engine.manifest import ModelInput
from streamvision.engine.onnx_file import OnnxFacts, Port
from streamvision.engine.onnx_tensor import printable
from streamvision.errors import UsageError
from streamvision.types import Colour

_PICTURE_TYPES = ("float32", "float16", "uint8")
_MAX_LITERAL = 1 << 16


@dataclass(frozen=True, slots=True)
class Seen:
    """A network's file, the size of its picture, its outputs' names, and what they were for one sample picture."""

    facts: OnnxFacts
    size_wh: tuple[int, int]
    names: tuple[str, ...]
    values: tuple[NDArray[Any], ...]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The outputs' shapes for one picture."""
        return tuple(value.shape for value in self.values)

    def words(self) -> str:
        """Return the outputs as a person would write them."""
        pairs = zip(self.names, self.shapes, strict=True)
        return ", ".join(f"{printable(name)} {'x'.join(map(str, shape))}" for name, shape in pairs)

    def metadata(self, key: str) -> Any:
        """Return a value of the file's metadata, which exporters write as Python literals; None if it is none."""
        return literal(self.facts.metadata.get(key, ""))


def look(facts: OnnxFacts, spec: ModelInput) -> Seen:
    """Run the network once on a sample picture. Raises `EngineError` if it cannot be run."""
    backend = OnnxRuntimeBackend(Network(facts.path.stem, facts.path, spec), OnnxRuntimeBackend.Options(workers=1))
    try:
        picture = samples.pictures(spec.spec(), limit=1)[0]
        values = tuple(backend.submit([picture]).result())
    finally:
        backend.close()
    return Seen(facts, spec.size, backend.output_names, values)


def picture_input(facts: OnnxFacts, stated_wh: tuple[int, int] | None) -> dict[str, Any]:
    """Return size, layout, dtype and colour (gray or rgb) of a network's picture, as a manifest says them.

    Raises `UsageError` for a network that does not look at one picture, or whose size nobody knows.
    """
    port = _only_input(facts)
    shape = port.shape or ()
    if len(shape) != 4 or port.dtype not in _PICTURE_TYPES:
        raise _no_picture(facts, f"its input {port} is no picture: expected batch x 3 x height x width")
    layout = "nhwc" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "nchw"
    channels, height, width = (shape[1], shape[2], shape[3]) if layout == "nchw" else (shape[3], shape[1], shape[2])
    if isinstance(channels, int) and channels not in (1, 3):
        raise _no_picture(facts, f"its input {port} has {channels} channels: a picture has 3, or 1")
    size = _size(facts, width, height, stated_wh)
    colour = Colour.GRAY if channels == 1 else Colour.RGB
    return {"size": size, "layout": layout, "dtype": port.dtype, "colour": colour}


def literal(text: str) -> Any:
    """Return the Python literal that a text is, None if it is none; nothing is executed."""
    if not text or len(text) > _MAX_LITERAL:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _only_input(facts: OnnxFacts) -> Port:
    if len(facts.inputs) == 1:
        return facts.inputs[0]
    listed = ", ".join(map(str, facts.inputs))
    if any("target_sizes" in port.name for port in facts.inputs):
        raise UsageError(
            f"this is RT-DETR or D-FINE with its post-processing inside the graph: its inputs are {listed}",
            where=str(facts.path),
            remedy="export the network alone, without its postprocessor; its outputs are then logits and boxes",
        )
    raise _no_picture(facts, f"it has {len(facts.inputs)} inputs: {listed}")


def _no_picture(facts: OnnxFacts, what: str) -> UsageError:
    return UsageError(what, where=str(facts.path), remedy="export the network with one picture as its only input")


def _size(facts: OnnxFacts, width: Any, height: Any, stated_wh: tuple[int, int] | None) -> tuple[int, int]:
    fixed = (width if isinstance(width, int) else None, height if isinstance(height, int) else None)
    wanted = stated_wh or _from_metadata(facts) or fixed
    for have, want in zip(fixed, wanted, strict=True):
        if want is None:
            raise UsageError(
                f"its picture may be of any size: its input is {facts.inputs[0]}",
                where=str(facts.path),
                remedy="state the size that it was trained with: --size WIDTHxHEIGHT",
            )
        if have not in (None, want):
            raise UsageError(
                f"its picture is {fixed[0]}x{fixed[1]}, not {wanted[0]}x{wanted[1]}", where=str(facts.path),
                remedy="leave --size out, or export the network with that size",
            )  # fmt: skip
    return (wanted[0] or 0, wanted[1] or 0)


def _from_metadata(facts: OnnxFacts) -> tuple[int, int] | None:
    """Return the size that Ultralytics writes as [height, width]."""
    sides = literal(facts.metadata.get("imgsz", ""))
    if isinstance(sides, list | tuple) and len(sides) == 2 and all(type(s) is int and 0 < s <= 8192 for s in sides):
        return sides[1], sides[0]
    return None


def read_labels(text: str, shipped_labels: Path) -> tuple[str, ...]:
    """Return labels given as a list's name (``coco80``), a .txt file with one a line, or names between commas.

    Raises `UsageError`.
    """
    path = Path(text).expanduser()
    if "," not in text and "/" not in text and (shipped_labels / f"{text}.txt").is_file():
        path = shipped_labels / f"{text}.txt"
    elif not text.endswith(".txt"):
        return tuple(part.strip() for part in text.split(","))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"the labels cannot be read: {error}", where=str(path)) from error
    return tuple(line.strip() for line in lines if line.strip())
