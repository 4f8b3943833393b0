"""The tensors of an ONNX file, judged on the wire: what they claim to be, what is there, and where the rest lies."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamvision.engine.wire import BYTES, Field, Wire
from streamvision.errors import EngineError

MAX_ELEMENTS: Final = 1 << 30
"""What one tensor may claim to hold."""
MAX_TEXT: Final = 1 << 20
TYPES: Final[Mapping[int, tuple[str, int]]] = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16), 6: ("int32", 32),
    7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8), 10: ("float16", 16), 11: ("float64", 64), 12: ("uint32", 32),
    13: ("uint64", 64), 14: ("complex64", 64), 15: ("complex128", 128), 16: ("bfloat16", 16), 17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8), 19: ("float8e5m2", 8), 20: ("float8e5m2fnuz", 8), 21: ("uint4", 4), 22: ("int4", 4),
    23: ("float4e2m1", 4), 24: ("float8e8m0", 8), 25: ("uint2", 2), 26: ("int2", 2),
}  # fmt: skip
_BIGGEST_SHAPE = 64
"""More dimensions than this no tensor has, and shapes of at most so many sides are remembered."""


@dataclass
class Tensor:
    """What is collected of one tensor: ``raw`` bytes or ``held`` elements that are really there, or a place elsewhere.

    ``values`` are those of a small tensor of whole numbers, which may be a shape.
    """

    name: str = ""
    dims: list[int] = field(default_factory=list)
    dtype: int = 0
    raw: int | None = None
    held: int = 0
    external: dict[str, str] = field(default_factory=dict)
    values: tuple[int, ...] = ()


class Tensors:
    """Reads the tensors of one file; ``external`` names the files beside it, ``weights`` counts numbers."""

    def __init__(self, path: Path, wire: Wire) -> None:
        self._path = path
        self._wire = wire
        self.weights = 0
        self.external: set[str] = set()

    def read_sparse(self, place: Field) -> None:
        """Judge both tensors of a sparse one."""
        for each in self._wire.fields(place.start, place.stop):
            if each.number in (1, 2) and each.kind == BYTES:
                self.read(each)

    def read(self, place: Field) -> Tensor:
        """Collect and judge one tensor. Raises `EngineError` where it claims what is not there."""
        tensor = Tensor()
        for each in self._wire.fields(place.start, place.stop):
            self._collect(tensor, each)
        self._check_tensor(tensor)
        self.weights += math.prod(tensor.dims)
        return tensor

    def _collect(self, tensor: Tensor, each: Field) -> None:
        if each.number == 1:
            if each.stop - each.start > _BIGGEST_SHAPE * 10 or len(tensor.dims) > _BIGGEST_SHAPE:
                raise self.refused(f"tensor {tensor.name!r} has no sane number of dimensions", "export it again")
            tensor.dims += self._wire.numbers(each)
        elif each.number == 2:
            tensor.dtype = each.value
        elif each.number == 8:
            tensor.name = self.text(each)
        elif each.number == 9:
            tensor.raw = each.stop - each.start
            tensor.values = self._small(each)
        elif each.number in (4, 5, 6, 7, 10, 11):
            tensor.held += self._count(each)
            if each.number == 7 and each.stop - each.start <= _BIGGEST_SHAPE:
                tensor.values += tuple(self._wire.numbers(each))
        elif each.number == 13:
            tensor.external.update([self.pair(each)])

    def _small(self, each: Field) -> tuple[int, ...]:
        """Return raw bytes as 64-bit integers, if they may be a shape."""
        size = each.stop - each.start
        if size % 8 or size > _BIGGEST_SHAPE * 8:
            return ()
        raw = bytes(self._wire.data[each.start : each.stop])
        return tuple(int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, size, 8))

    def _count(self, each: Field) -> int:
        """Return how many elements a typed field of a tensor holds."""
        if each.number in (4, 10):
            return (each.stop - each.start) // (4 if each.number == 4 else 8)
        return 1 if each.number == 6 else self._wire.count_varints(each)

    def _check_tensor(self, tensor: Tensor) -> None:
        name, bits = TYPES.get(tensor.dtype, ("", 0))
        where = f"tensor {tensor.name!r}"
        if not name:
            raise self.refused(f"{where} is of an unknown type ({tensor.dtype})", "export it again")
        if any(side < 0 for side in tensor.dims):
            raise self.refused(f"{where} has a negative side", "export it again")
        claimed = math.prod(tensor.dims)
        shown = f"{where} claims {'x'.join(map(str, tensor.dims)) or 'one'} numbers of {name}"
        if claimed > MAX_ELEMENTS:
            raise self.refused(f"{shown}, more than any network needs", "export it again")
        if tensor.external:
            self._check_external(tensor, -(-claimed * bits // 8), shown)
        elif tensor.raw is not None:
            if name != "string" and tensor.raw != -(-claimed * bits // 8):
                raise self.refused(f"{shown}, but has {tensor.raw} bytes", "export it again")
        elif not self._holds(tensor.held, claimed, name, bits):
            raise self.refused(f"{shown}, but has {tensor.held}", "export it again")

    @staticmethod
    def _holds(held: int, claimed: int, name: str, bits: int) -> bool:
        """Tell whether as many values are listed as are claimed; complex ones take two, small ones share."""
        if name.startswith("complex"):
            return held == 2 * claimed
        return held == claimed or (0 < bits < 8 and held == -(-claimed * bits // 8))

    def _check_external(self, tensor: Tensor, size: int, shown: str) -> None:
        location = tensor.external.get("location", "")
        file = self._beside(location)
        try:
            offset = int(tensor.external.get("offset") or 0)
            length = int(tensor.external.get("length") or size)
        except ValueError as error:
            raise self.refused(f"{shown}, but its place in {location!r} is no number", "export it again") from error
        if offset < 0 or length != size or offset + length > file.stat().st_size:
            raise self.refused(
                f"{shown}, but {location!r} does not hold that", "copy both files again from the same export"
            )
        self.external.add(location)

    def _beside(self, location: str) -> Path:
        """Return the file of a tensor's data. Raises `EngineError` for anything but a real file in the same folder."""
        folder = self._path.parent.resolve()
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or location.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise self.refused(
                f"it wants its weights from {location!r}, outside its own folder",
                "do not use this file if you do not know who made it",
            )
        file = Path(os.path.realpath(folder / location))
        if not file.is_relative_to(folder):
            raise self.refused(
                f"its weights {location!r} are a link that leads out of its folder", "copy the file itself there"
            )
        if not file.is_file():
            raise self.refused(
                f"its weights {location!r} are not there",
                f"put that file into {folder}, or export without external data",
            )
        return file

    def pair(self, place: Field) -> tuple[str, str]:
        """Return a StringStringEntryProto."""
        texts = {1: "", 2: ""}
        for each in self._wire.fields(place.start, place.stop):
            if each.number in texts:
                texts[each.number] = self.text(each)
        return texts[1], texts[2]

    def text(self, each: Field) -> str:
        """Return a field as text, unless it is beyond reason."""
        if each.stop - each.start > MAX_TEXT:
            raise self.refused("it holds a name that is larger than a book", "export it again")
        return self._wire.text(each)

    def refused(self, what: str, remedy: str) -> EngineError:
        """Return the error for this file."""
        return refusal(self._path, what, remedy)


def printable(text: str) -> str:
    """Return a name from a file as it may be shown: no control characters, and not endless."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:200])


def refusal(path: Path, what: str, remedy: str) -> EngineError:
    """Return the error for a file."""
    return EngineError(what, where=str(path), remedy=remedy)
