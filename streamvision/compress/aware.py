"""Quantisation-aware training: a network learns on as if it were in int8, and is then written in int8 as it learnt it.

Small code of our own instead of torch.ao, torchao or NNCF: those place their quantisers by rules of their own (unsigned
activations, zero points, whole fused blocks) and need graphs that they can trace, which torchvision's detectors are
not. Here the layers are those that `engine.quantize` would take after training, found in the exported graph and
recognised in the module by their weights; training begins where quantisation after training ends, with its steps and
corrected biases; and the one writer of int8 files writes what was learnt.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from streamvision.compress.fake import Activation, FakeConv2d, FakeLinear, fake, real
from streamvision.compress.fold import fold
from streamvision.compress.package import marked
from streamvision.engine import graphs, manifest
from streamvision.engine.half import constants
from streamvision.engine.manifest import Manifest
from streamvision.engine.precision import prepared
from streamvision.engine.quantize import Layer, layers, quantized, upgraded
from streamvision.engine.ranges import Range, measure
from streamvision.errors import EngineError
from streamvision.types import UInt8

Write = Callable[[nn.Module, Path], Path]
"""Exports a module, which it leaves as it is, into a folder, and returns the manifest's path."""
Array = NDArray[Any]


def prepare(module: nn.Module, picture: Tensor, write: Write, pictures: Sequence[UInt8]) -> int:
    """Make a network's inner layers compute as in int8, in place; return how many.

    picture: one normalised (1,3,h,w), to trace with. ``pictures``: as the manifest's input says, to begin with the
    ranges that quantisation after training would take. Raises `EngineError` for a network without such layers.
    """
    device = next(module.parameters()).device
    fold(module, picture)
    module.cpu()
    with tempfile.TemporaryDirectory(prefix="streamvision-") as folder:
        model, described = _exported(module, write, Path(folder))
    items = [prepared(each, described.input) for each in pictures]
    start = _start(module, model, items)
    for name, begun in start.items():
        _put(module, name, fake(module.get_submodule(name), begun.reader, torch.from_numpy(begun.steps)))
        if begun.bias is not None:
            module.get_submodule(name).bias = nn.Parameter(torch.from_numpy(begun.bias))
    module.to(device)
    return len(start)


def finish(module: nn.Module, write: Write, folder: Path) -> Path:
    """Write what was learnt as an int8 network with its manifest; return that one's path. Raises `EngineError`."""
    plain = copy.deepcopy(module).cpu().eval()
    fakes = {name: layer for name, layer in plain.named_modules() if isinstance(layer, FakeConv2d | FakeLinear)}
    for name, each in fakes.items():
        _put(plain, name, real(each))
    model, described = _exported(plain, write, folder)
    names = _names(model, plain)
    chosen = [layer for layer in layers(model) if names.get(layer.weight) in fakes]
    if {names[layer.weight] for layer in chosen} != set(fakes):
        raise EngineError("layers that learnt to compute in int8 cannot be told apart in the exported network")
    nothing = np.zeros(1)
    ranges, steps = {}, {}
    for layer in chosen:
        learnt = fakes[names[layer.weight]]
        ranges[layer.activation] = Range(learnt.reader.learnt, nothing, nothing)
        steps[layer.weight] = learnt.learnt.numpy()
    result = quantized(model, chosen, ranges, steps)
    return marked(described, folder, lambda path: onnx.save(result, path))


def _exported(module: nn.Module, write: Write, folder: Path) -> tuple[ModelProto, Manifest]:
    described = manifest.load(write(module, folder))
    assert described.file is not None
    path = folder / described.file.name
    return upgraded(graphs.read(path, str(path))), described


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """What a layer begins with: who reads its input, its weight's steps (O,), its bias where that was corrected."""

    reader: Activation
    steps: Array
    bias: Array | None


def _start(module: nn.Module, model: ModelProto, items: Sequence[Array]) -> dict[str, _Begun]:
    """Return what the module's layers begin with, by their names: what quantisation after training gives them."""
    names = _names(model, module)
    inner = [layer for layer in layers(model) if not layer.end and layer.weight in names]
    if not inner:
        raise EngineError("this network has no layers that could compute in int8")
    ranges = measure(model, list(dict.fromkeys(layer.activation for layer in inner)), items)
    after = quantized(model, inner, ranges)
    held = {each.name: numpy_helper.to_array(each) for each in after.graph.initializer}
    inner = [layer for layer in inner if ranges[layer.activation].step > 0]
    readers = _readers(inner, names, ranges)
    begun = {}
    for name, calls in _by_module(inner, names).items():
        corrected = [held[key] for each in calls if (key := _bias_of(model, each)) in held]
        bias = np.mean(corrected, axis=0).astype(np.float32) if corrected else None
        begun[name] = _Begun(readers[name], np.array(held[f"{calls[0].weight}/step"]), bias)
    return begun


def _by_module(inner: Sequence[Layer], names: Mapping[str, str]) -> dict[str, list[Layer]]:
    """Return the places in the graph where each module's layer is used."""
    found: dict[str, list[Layer]] = {}
    for layer in inner:
        found.setdefault(names[layer.weight], []).append(layer)
    return found


def _bias_of(model: ModelProto, layer: Layer) -> str:
    return f"{model.graph.node[layer.position].output[0]}/bias"


def _readers(inner: Sequence[Layer], names: Mapping[str, str], ranges: Mapping[str, Range]) -> dict[str, Activation]:
    """Return who reads each layer's input: one for all layers that read the same tensors."""
    together: dict[str, set[str]] = {}
    for layer in inner:
        key = f"layer {names[layer.weight]}"
        merged = together.get(key, {key}) | together.get(layer.activation, {layer.activation})
        together |= dict.fromkeys(merged, merged)
    readers: dict[int, Activation] = {}
    found = {}
    for layer in inner:
        members = together[layer.activation]
        step = max(ranges[each].step for each in members if each in ranges)
        found[names[layer.weight]] = readers.setdefault(id(members), Activation(step))
    return found


def _names(model: ModelProto, module: nn.Module) -> dict[str, str]:
    """Return weight in the graph -> layer of the module: those whose values are the same, and only theirs."""
    by_value: dict[tuple[Any, ...], list[str]] = {}
    for name, weight in _weights(module):
        by_value.setdefault((weight.shape, weight.tobytes()), []).append(name)
    found = {}
    for key, tensor in constants(model.graph).items():
        value = numpy_helper.to_array(tensor)
        same = by_value.get((value.shape, np.ascontiguousarray(value).tobytes()), [])
        if len(same) == 1:
            found[key] = same[0]
    return found


def _weights(module: nn.Module) -> Iterator[tuple[str, Array]]:
    for name, layer in module.named_modules():
        if type(layer) in (nn.Conv2d, nn.Linear):
            yield name, np.ascontiguousarray(layer.weight.detach().cpu().numpy())


def _put(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, layer)
