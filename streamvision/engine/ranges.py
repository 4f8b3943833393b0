"""What flows through a network on typical pictures, and the steps in which int8 can hold it with the least error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from streamvision.engine.backends.cpus import usable_cpus
from streamvision.engine.backends.onnxruntime import import_onnxruntime
from streamvision.errors import EngineError

Array = NDArray[Any]

LEVELS: Final = 127
"""The largest whole number that symmetric int8 uses on either side of zero."""
_BINS: Final = 2048
_CLIPS: Final = np.linspace(0.1, 1.0, 91)
"""Shares of the largest value that are tried as the end of the range."""
_AT_ONCE: Final = 48
"""Tensors that are looked at in one run, so that those of large networks fit into memory."""
_SAMPLE: Final = 1 << 17
"""So many values of a tensor of one picture are looked at, evenly chosen in each channel; extremes among all."""


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """One tensor: the value of one int8 step, and its channels' means (C,) before and after rounding to such steps.

    A step of 0 says that the tensor was always zero.
    """

    step: float
    mean: Array
    rounded: Array


class Session:
    """A network on ONNX Runtime, run for what any of its tensors hold."""

    def __init__(self, model: ModelProto, tensors: Sequence[str] = ()) -> None:
        """``tensors`` are made outputs besides the network's own. Raises `EngineError`, `BackendUnavailable`."""
        ort = import_onnxruntime("calibration")
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = usable_cpus()
        content = _with_outputs(model, tensors).SerializeToString()
        try:
            self._session = ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base of their own
            raise EngineError(f"ONNX Runtime cannot load the network: {error}") from error
        self._input = self._session.get_inputs()[0].name
        batch = self._session.get_inputs()[0].shape[0]
        self._batch = batch if isinstance(batch, int) else 1

    def run(self, item: Array, names: Sequence[str] | None = None) -> list[Array]:
        """Return outputs for one prepared input (1, ...), all of the network's by default.

        A network that only takes so many at a time is given as many of the same. Raises `EngineError`.
        """
        item = np.repeat(item, self._batch, axis=0) if self._batch > 1 else item
        if names is None:
            return self._computed(item, None)
        wanted = [name for name in names if name != self._input]
        values = dict(zip(wanted, self._computed(item, wanted) if wanted else [], strict=True))
        return [item if name == self._input else values[name] for name in names]

    def _computed(self, item: Array, names: Sequence[str] | None) -> list[Array]:
        try:
            return list(self._session.run(names, {self._input: item}))
        except Exception as error:  # its exceptions have no common base of their own
            raise EngineError(f"the network cannot be run on a calibration picture: {error}") from error


def measure(model: ModelProto, tensors: Sequence[str], items: Sequence[Array]) -> dict[str, Range]:
    """Return the ranges of tensors (N, C, ...) over prepared inputs (1, ...). Raises `EngineError`."""
    found: dict[str, Range] = {}
    for start in range(0, len(tensors), _AT_ONCE):
        names = tensors[start : start + _AT_ONCE]
        session = Session(model, names)
        spreads = {name: _Spread() for name in names}
        for name, values in _values(session, names, items):
            spreads[name].add(values)
        steps = {name: spread.step() for name, spread in spreads.items()}
        rounded = _rounded_means(session, steps, items)
        found |= {name: Range(steps[name], spreads[name].mean(), rounded[name]) for name in names}
    return found


def _values(session: Session, names: Sequence[str], items: Sequence[Array]) -> Iterator[tuple[str, Array]]:
    for item in items:
        yield from zip(names, session.run(item, names), strict=True)


def _rounded_means(session: Session, steps: Mapping[str, float], items: Sequence[Array]) -> dict[str, Array]:
    means = dict.fromkeys(steps, np.zeros(1, np.float32))
    for name, values in _values(session, list(steps), items):
        means[name] = means[name] + as_int8(_sample(values), steps[name]).mean(axis=(0, 2)) / len(items)
    return means


def _sample(values: Array) -> Array:
    """Return some of the values (N, C, K) of a tensor (N, C, ...), all channels alike."""
    flat = values.reshape(*values.shape[:2], -1)
    # An odd stride meets all columns of a map whose width is even.
    return np.asarray(flat[..., :: values.size // _SAMPLE | 1], np.float32)


def as_int8(values: Array, step: float | Array) -> Array:
    """Return values as int8 gives them back: whole steps, at most 127 of them."""
    safe = np.where(np.asarray(step) > 0, step, 1.0)
    return np.asarray(np.clip(np.round(values / safe), -LEVELS, LEVELS) * step)


class _Spread:
    """How often absolute values occur: a histogram that widens itself as larger ones come."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS)
        self._end = 0.0
        self._means: list[Array] = []

    def add(self, values: Array) -> None:
        largest = float(max(values.max(initial=0), -values.min(initial=0)))
        if not np.isfinite(largest):
            raise EngineError("the network computes numbers that are not finite on the calibration pictures")
        sample = _sample(values)
        self._means.append(sample.mean(axis=(0, 2)))
        if largest == 0:
            return
        self._widen(largest)
        sizes = np.abs(sample).ravel()
        bins = np.minimum((sizes * np.float32(_BINS / self._end)).astype(np.int32), _BINS - 1)
        self._counts += np.bincount(bins, minlength=_BINS)

    def mean(self) -> Array:
        return np.asarray(np.mean(self._means, axis=0))

    def step(self) -> float:
        """Return the step with the least mean squared error, of clipping and of rounding together."""
        if not self._counts.any():
            return 0.0
        centres = (np.arange(_BINS) + 0.5) * (self._end / _BINS)
        steps = self._end * _CLIPS / LEVELS
        errors = [float((self._counts * (centres - as_int8(centres, step)) ** 2).sum()) for step in steps]
        return float(steps[int(np.argmin(errors))])

    def _widen(self, largest: float) -> None:
        """Double the range, two bins becoming one, until it holds the largest value."""
        if self._end == 0:
            self._end = largest
        while largest > self._end:
            self._counts = np.concatenate((self._counts.reshape(-1, 2).sum(axis=1), np.zeros(_BINS // 2)))
            self._end *= 2


def _with_outputs(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    if not tensors:
        return model
    own = {each.name for each in (*model.graph.input, *model.graph.output)}
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors if name not in own)
    return copy
