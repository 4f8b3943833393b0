"""What an ONNX file is, read before any runtime sees it, and refused where it lies or would do harm.

The file is walked on the wire (`wire`): no tensor is loaded, so that neither a file of two gigabytes nor one of a
million empty nodes costs memory. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamvision.engine.onnx_tensor import MAX_ELEMENTS, TYPES, Tensors, printable, refusal
from streamvision.engine.wire import BYTES, VARINT, BadWire, Field, Wire

MAX_BYTES: Final = (1 << 31) - 1
"""No protocol buffer may be larger; larger networks keep their weights in files of their own."""
MAX_NODES: Final = 50_000
MAX_FIELDS: Final = 2_000_000
MAX_DEPTH: Final = 16
"""How deep graphs may lie inside nodes of graphs."""
KNOWN_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "TRT", "trt.plugins"})
"""Whose operators at least one backend may know; a backend that does not says so itself."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its sides are numbers, names of open dimensions, or None; no shape at all is None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        sides = "of any shape" if self.shape is None else "x".join("?" if s is None else str(s) for s in self.shape)
        return printable(f"{self.name} ({self.dtype} {sides})")


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """What a file says of itself. ``opsets`` by domain; ``custom_ops`` are not ONNX's own, as ``domain::operator``;
    ``external`` are the files beside it that hold its weights; ``weights`` counts numbers."""

    path: Path
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    nodes: int
    weights: int
    operators: frozenset[str]
    custom_ops: tuple[str, ...]
    external: tuple[str, ...]


_checked: dict[tuple[str, str], OnnxFacts] = {}


def check(path: Path, sha256: str | None = None) -> OnnxFacts:
    """Return what a network's file says of itself; with its ``sha256`` one file is read only once.

    Raises `EngineError` for a file that is no ONNX network, is broken, claims what it does not have, reaches for files
    outside its folder, or is larger than any network that could be run.
    """
    key = (sha256 or "", str(path))
    if sha256 is not None and key in _checked:
        return _checked[key]
    try:
        facts = _read(path)
    except BadWire as error:
        raise refusal(
            path, f"this is no whole ONNX file: {error}", "copy or export it again; a download may have broken off"
        ) from error
    except OSError as error:
        raise refusal(path, f"it cannot be read: {error.strerror}", "look at its path and permissions") from error
    if sha256 is not None:
        _checked[key] = facts
    return facts


def _read(path: Path) -> OnnxFacts:
    if not path.is_file():
        raise refusal(path, "there is no such file", "look at its path")
    size = path.stat().st_size
    if size == 0:
        raise refusal(path, "the file is empty", "copy or export it again")
    if size > MAX_BYTES:
        raise refusal(
            path, f"the file has {size} bytes, more than an ONNX file can", "save its weights as external data"
        )
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        return _Reading(path, Wire(data, MAX_FIELDS)).model(len(data))


@dataclass
class _Node:
    operator: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


class _Reading:
    """One walk over a file."""

    def __init__(self, path: Path, wire: Wire) -> None:
        self._path = path
        self._wire = wire
        self._nodes = 0
        self._tensors = Tensors(path, wire)
        self._operators: set[tuple[str, str]] = set()
        self._functions: set[tuple[str, str]] = set()
        self._inputs: list[Port] = []
        self._outputs: list[Port] = []
        self._initialisers: set[str] = set()

    def model(self, size: int) -> OnnxFacts:
        texts, graphs, functions = {2: "", 3: ""}, [], []
        opsets: dict[str, int] = {}
        metadata: dict[str, str] = {}
        for each in self._wire.fields(0, size):
            if each.number in (2, 3):
                texts[each.number] = self._tensors.text(each)
            elif each.number == 8:
                domain, version = self._opset(each)
                opsets[domain] = version
            elif each.number == 14:
                metadata.update([self._tensors.pair(each)])
            elif each.number == 7:
                graphs.append(each)
            elif each.number == 25:
                functions.append(each)
        if len(graphs) != 1 or not opsets:
            raise self._tensors.refused("this is no ONNX network", "give a file that was exported as ONNX")
        self._graph(graphs[0], 0)
        for function in functions:
            self._function(function)
        return self._facts(" ".join(filter(None, texts.values())), opsets, metadata)

    def _facts(self, producer: str, opsets: dict[str, int], metadata: dict[str, str]) -> OnnxFacts:
        inputs = tuple(port for port in self._inputs if port.name not in self._initialisers)
        if not self._nodes or not inputs or not self._outputs:
            what = "nodes" if not self._nodes else "outputs" if inputs else "inputs"
            raise self._tensors.refused(f"the network has no {what}", "export it again")
        return OnnxFacts(
            self._path, producer, opsets, inputs, tuple(self._outputs), metadata, self._nodes, self._tensors.weights,
            frozenset(operator for _, operator in self._operators), self._foreign(),
            tuple(sorted(self._tensors.external)),
        )  # fmt: skip

    def _foreign(self) -> tuple[str, ...]:
        """Return the operators that are not ONNX's own. Raises `EngineError` for those that no backend can know."""
        foreign = {each for each in self._operators - self._functions if each[0] not in ("", "ai.onnx")}
        unknown = sorted(
            printable(f"{domain}::{operator}") for domain, operator in foreign if domain not in KNOWN_DOMAINS
        )
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise self._tensors.refused(
                f"it uses operators that are not ONNX's: {', '.join(unknown[:5])}{more}",
                "export it with standard operators only",
            )
        return tuple(sorted(f"{domain}::{operator}" for domain, operator in foreign))

    def _graph(self, graph: Field, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._tensors.refused("graphs lie in graphs without an end", "export it again")
        parts = list(self._parts(graph))
        constants: dict[str, tuple[int, ...]] = {}
        for each in parts:
            if each.number == 5:
                tensor = self._tensors.read(each)
                constants[tensor.name] = tensor.values
            elif each.number == 15:
                self._tensors.read_sparse(each)
        if depth == 0:
            self._initialisers.update(constants)
        for each in parts:
            if each.number == 1:
                self._node(each, depth, constants)
            elif each.number in (11, 12) and depth == 0:
                (self._inputs if each.number == 11 else self._outputs).append(self._port(each))

    def _parts(self, graph: Field) -> Iterator[Field]:
        """Yield a graph's fields; too many nodes are noticed before one of them is looked into."""
        for each in self._wire.fields(graph.start, graph.stop):
            if each.number == 1:
                self._count_node()
            if each.kind == BYTES and each.number in (1, 5, 11, 12, 15):
                yield each

    def _count_node(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._tensors.refused(
                f"the network has more than {MAX_NODES} nodes", "export it without unrolled loops, or simplify it"
            )

    def _function(self, function: Field) -> None:
        name = domain = ""
        bodies = []
        for each in self._wire.fields(function.start, function.stop):
            if each.number == 1:
                name = self._tensors.text(each)
            elif each.number == 10:
                domain = self._tensors.text(each)
            elif each.number == 7 and each.kind == BYTES:
                self._count_node()
                bodies.append(each)
        self._functions.add((domain, name))
        for body in bodies:
            self._node(body, 1, {})

    def _node(self, place: Field, depth: int, constants: dict[str, tuple[int, ...]]) -> None:
        node = _Node()
        for each in self._wire.fields(place.start, place.stop):
            if each.number == 1:
                node.inputs.append(self._tensors.text(each))
            elif each.number == 2:
                node.outputs.append(self._tensors.text(each))
            elif each.number == 4:
                node.operator = self._tensors.text(each)
            elif each.number == 7:
                node.domain = self._tensors.text(each)
            elif each.number == 5 and each.kind == BYTES:
                values = self._attribute(each, depth)
                if values and node.outputs:
                    constants[node.outputs[0]] = values
        self._operators.add((node.domain, node.operator))
        self._check_growth(node, constants)

    def _check_growth(self, node: _Node, constants: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse the operators that make a huge tensor out of a few bytes."""
        shape_at = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}.get(node.operator)
        if shape_at is None or len(node.inputs) <= shape_at:
            return
        self._check_size(constants.get(node.inputs[shape_at], ()), f"{node.operator} makes a tensor")

    def _check_size(self, sides: tuple[int, ...], what: str) -> None:
        if math.prod(max(1, abs(side)) for side in sides) > MAX_ELEMENTS:
            raise self._tensors.refused(
                f"{what} of {'x'.join(map(str, sides))}, more than any picture needs",
                "do not use this file if you do not know who made it",
            )

    def _attribute(self, place: Field, depth: int) -> tuple[int, ...]:
        """Look into one attribute; return the values of a small tensor of integers in it."""
        values: tuple[int, ...] = ()
        for each in self._wire.fields(place.start, place.stop):
            if each.kind != BYTES:
                continue
            if each.number in (5, 10):
                values = self._tensors.read(each).values
            elif each.number in (6, 11):
                self._graph(each, depth + 1)
            elif each.number in (22, 23):
                self._tensors.read_sparse(each)
        return values

    def _port(self, place: Field) -> Port:
        name, dtype, shape = "", "", None
        for each in self._wire.fields(place.start, place.stop):
            if each.number == 1:
                name = self._tensors.text(each)
            elif each.number == 2 and each.kind == BYTES:
                dtype, shape = self._type(each)
        if shape is not None:
            self._check_size(tuple(side for side in shape if isinstance(side, int)), f"{name!r} is a tensor")
        return Port(name, dtype, shape)

    def _type(self, place: Field) -> tuple[str, tuple[int | str | None, ...] | None]:
        dtype, shape = "no tensor", None
        for outer in self._wire.fields(place.start, place.stop):
            if outer.number != 1 or outer.kind != BYTES:
                continue
            for each in self._wire.fields(outer.start, outer.stop):
                if each.number == 1:
                    dtype = TYPES.get(each.value, ("unknown", 0))[0]
                elif each.number == 2 and each.kind == BYTES:
                    shape = tuple(self._side(side) for side in self._wire.fields(each.start, each.stop))
        return dtype, shape

    def _side(self, place: Field) -> int | str | None:
        side: int | str | None = None
        if place.kind != BYTES:
            return None
        for each in self._wire.fields(place.start, place.stop):
            if each.number == 1 and each.kind == VARINT:
                side = each.value if 0 < each.value <= MAX_BYTES else None
            elif each.number == 2:
                side = self._tensors.text(each) or None
        return side

    def _opset(self, place: Field) -> tuple[str, int]:
        domain, version = "", 0
        for each in self._wire.fields(place.start, place.stop):
            if each.number == 1:
                domain = self._tensors.text(each)
            elif each.number == 2:
                version = each.value
        return domain, version
