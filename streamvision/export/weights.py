"""State files of PyTorch: read without running anything that is in them, and compared with the network.

Every error names the file, what does not fit, and what to do about it.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from streamvision.errors import UsageError
from streamvision.export import pruned

_WRAPPERS = ("model", "state_dict")
"""Keys under which training scripts put the state beside the optimiser's."""
_PARALLEL = "module."
"""What `DataParallel` puts before every name."""
_EXPANSION = 4
"""PyTorch stores tensors uncompressed; a file that grows more than this when read is made to fill the memory."""
_SLACK = 1 << 20
_UNNEEDED = "num_batches_tracked"
"""Counters of batch normalisation, of no use when nothing is trained; frozen normalisations have none."""
_SHOWN = 3

_BROKEN = (
    RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, OverflowError,
    pickle.UnpicklingError, zipfile.BadZipFile, OSError,
)  # fmt: skip
"""What reading a damaged file may raise; the reader has no exception of its own."""


def load_state(module: Any, path: Path, *, classes: int | None = None, optional: Sequence[str] = ()) -> None:
    """Load a state file into a module, strictly.

    ``classes`` is how many the module was built for, so that the error can say for how many the file is. Keys that
    begin with one of ``optional`` may be missing or left over. A record of pruning beside the file is followed first.
    Raises `UsageError`.
    """
    state = read_state(path)
    pruned.follow(module, path)
    difference = _compare(module.state_dict(), state, optional)
    if difference.any:
        raise _refusal(path, difference, module.state_dict(), state, classes)
    module.load_state_dict({key: state[key] for key in difference.shared}, strict=False)


def read_state(path: Path) -> dict[str, Any]:
    """Return the tensors of a state file by their names. Raises `UsageError`."""
    if not path.is_file():
        raise UsageError("there is no such weights file", where=str(path))
    _refuse_bomb(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            "is no state file: it is damaged, or holds more than tensors, such as a whole module",
            where=str(path),
            remedy="save with torch.save(module.state_dict(), FILE) and give that file",
        ) from error
    except _BROKEN as error:
        raise UsageError(
            "cannot be read as weights: it is truncated, damaged, or no PyTorch file",
            where=str(path),
            remedy="compare its size and sha256 with the original's",
        ) from error
    return _unwrapped(content, path)


def _refuse_bomb(path: Path) -> None:
    """Raise `UsageError` for an archive whose contents are far larger than itself, or overlap."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UsageError(f"is a damaged archive: {error}", where=str(path)) from error
    packed = path.stat().st_size
    if size > _EXPANSION * packed + _SLACK:
        raise UsageError(
            f"would unpack from {packed} to {size} bytes: no PyTorch file does that",
            where=str(path),
            remedy="do not trust this file; get it anew from its source",
        )


def _unwrapped(content: Any, path: Path) -> dict[str, Any]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = isinstance(content, Mapping) and all(isinstance(value, torch.Tensor) for value in content.values())
    if not tensors or not content:
        found = f"the keys {_few(content)}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise UsageError(
            f"holds no state of a network, but {found}",
            where=str(path),
            remedy="save with torch.save(module.state_dict(), FILE) and give that file",
        )
    state = {str(key): value for key, value in content.items()}
    while all(key.startswith(_PARALLEL) for key in state):
        state = {key.removeprefix(_PARALLEL): value for key, value in state.items()}
    return state


@dataclass(frozen=True, slots=True)
class _Difference:
    shared: list[str]
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    @property
    def any(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)


def _compare(own: Mapping[str, Any], given: Mapping[str, Any], optional: Sequence[str]) -> _Difference:
    def matters(key: str) -> bool:
        return not key.endswith(_UNNEEDED) and not key.startswith(tuple(optional))

    both = [key for key in own if key in given]
    reshaped = [key for key in both if own[key].shape != given[key].shape and matters(key)]
    return _Difference(
        shared=[key for key in both if own[key].shape == given[key].shape],
        missing=[key for key in own if key not in given and matters(key)],
        unexpected=[key for key in given if key not in own and matters(key)],
        reshaped=reshaped,
    )


def _refusal(
    path: Path, difference: _Difference, own: Mapping[str, Any], given: Mapping[str, Any], classes: int | None
) -> UsageError:
    if not difference.shared and not difference.reshaped:
        return UsageError(
            f"is the state of another network: its keys are {_few(given)}, this network's {_few(own)}",
            where=str(path),
            remedy="name the network that it was trained as",
        )
    shapes = [(tuple(own[key].shape), tuple(given[key].shape)) for key in difference.reshaped]
    if classes and (count := _classes_of(shapes, classes)) and not difference.missing and not difference.unexpected:
        return UsageError(
            f"has weights for {count} classes (see {difference.reshaped[0]}), but the network was made for {classes}",
            where=str(path),
            remedy=f"give --num-classes {count}",
        )
    return UsageError(
        "does not fit this network: " + "; ".join(_complaints(difference, shapes)),
        where=str(path),
        remedy="name the network that it was trained as",
    )


def _complaints(difference: _Difference, shapes: Sequence[tuple[Any, Any]]) -> list[str]:
    said = []
    if difference.missing:
        said.append(f"it lacks {_few(difference.missing)}")
    if difference.unexpected:
        said.append(f"it has {_few(difference.unexpected)} too many")
    if difference.reshaped:
        (own, given), key = shapes[0], difference.reshaped[0]
        said.append(f"{len(shapes)} shapes differ, for example {key} is {given}, not {own}")
    return said


def _classes_of(shapes: Sequence[tuple[Any, Any]], classes: int) -> int | None:
    """Return the number of classes that explains every shape that differs, if one does.

    Only a first side may differ, and it must be the same multiple of the classes on both sides: anchors or coordinates.
    """
    counts = set()
    for own, given in shapes:
        each = own[0] // classes if own and own[0] % classes == 0 else 0
        if own[1:] != given[1:] or not each or given[0] % each:
            return None
        counts.add(given[0] // each)
    return counts.pop() if len(counts) == 1 else None


def _few(keys: Any) -> str:
    names = [str(key) for key in keys]
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest if names else "none"
