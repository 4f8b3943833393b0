"""One operator of an ONNX graph, as the functions that compute it see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Tensor = Any
"""A torch.Tensor: without the extra, nobody can check its type."""
Compute = Callable[..., Any]
"""``compute(node, *inputs)`` gives one tensor or a sequence of them; an input left out is None."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with its attributes; ``opset`` decides what some of them mean."""

    operator: str
    name: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute, or what the standard says it is when absent."""
        return self.attributes.get(name, default)


def ints(node: Node, name: str, values: Tensor | None = None) -> list[int] | None:
    """Return a list of integers that newer operator sets give as an input and older ones as an attribute."""
    if values is not None:
        return [int(value) for value in values.reshape(-1).tolist()]
    found: Sequence[int] | None = node.attributes.get(name)
    return None if found is None else list(found)


def together(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors on one device: shapes and indices are computed on the CPU and move when they meet data."""
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), None)
    return list(tensors) if device is None else [tensor.to(device) for tensor in tensors]
