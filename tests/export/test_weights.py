"""State files: what is taken, and what each wrong one is told."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamvision.errors import UsageError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'streamvision[train]'")

from streamvision.export.weights import load_state, read_state  # noqa: E402

CLASSES = 4
ANCHORS = 3


def detector(classes: int = CLASSES) -> Any:
    """A body, a normalisation, and a head for so many classes."""
    torch.manual_seed(3)
    return torch.nn.ModuleDict(
        {
            "body": torch.nn.Conv2d(3, 4, 3),
            "norm": torch.nn.BatchNorm2d(4),
            "head": torch.nn.Conv2d(4, ANCHORS * classes, 1),
        }
    )


def saved(folder: Path, content: Any) -> Path:
    path = folder / "state.pth"
    torch.save(content, path)
    return path


def state(classes: int = CLASSES) -> dict[str, Any]:
    return {key: value + 1 for key, value in detector(classes).state_dict().items()}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in state().items() if name != key}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda plain: plain,
        lambda plain: {"model": plain, "epoch": 7, "optimizer": {"lr": 0.1}},
        lambda plain: {"state_dict": plain},
        lambda plain: {f"module.{key}": value for key, value in plain.items()},
        lambda plain: {"model": {f"module.{key}": value for key, value in plain.items()}},
        lambda plain: {key: value for key, value in plain.items() if not key.endswith("num_batches_tracked")},
        lambda plain: plain | {"aux.weight": torch.zeros(1)},
    ],
    ids=["plain", "model", "state_dict", "parallel", "both", "frozen norms", "optional"],
)
def test_what_training_scripts_save_is_loaded(tmp_path: Path, wrap: Callable[[Any], Any]):
    module = detector()
    load_state(module, saved(tmp_path, wrap(state())), optional=("aux.",))
    torch.testing.assert_close(module["head"].weight, state()["head.weight"])


def test_the_old_file_format_is_read_too(tmp_path: Path):
    path = tmp_path / "old.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=False)
    assert set(read_state(path)) == set(state())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (state(7), r"weights for 7 classes \(see head.weight\), but the network was made for 4; give --num-classes 7"),
        (without("body.weight"), "does not fit this network: it lacks body.weight; name the network"),
        (state() | {"neck.weight": torch.zeros(1)}, "it has neck.weight too many"),
        (state() | {"body.weight": torch.zeros(4, 1, 3, 3)}, r"body.weight is \(4, 1, 3, 3\), not \(4, 3, 3, 3\)"),
        (state() | {"head.bias": torch.zeros(22)}, r"1 shapes differ, for example head.bias is \(22,\), not \(12,\)"),
        ({"stem.a": torch.zeros(1)}, "state of another network: its keys are stem.a, this network's body.weight"),
        ({f"k{n}": torch.zeros(1) for n in range(9)}, "its keys are k0, k1, k2 and 6 more"),
        ({"epoch": 3, "lr": 0.1}, "holds no state of a network, but the keys epoch, lr; save with torch.save"),
        ([1, 2], "but a list"),
        ({}, "but the keys none"),
    ],
)
def test_a_state_that_does_not_fit_is_explained(tmp_path: Path, content: Any, words: str):
    path = saved(tmp_path, content)
    with pytest.raises(UsageError, match=words) as raised:
        load_state(detector(), path, classes=CLASSES)
    assert raised.value.where == str(path)


def test_a_whole_module_is_not_unpickled(tmp_path: Path):
    path = saved(tmp_path, detector())
    with pytest.raises(UsageError, match="holds more than tensors, such as a whole module; save with"):
        read_state(path)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
@pytest.mark.parametrize("new", [True, False])
def test_a_truncated_file_is_told(tmp_path: Path, keep: float, new: bool):
    path = tmp_path / "state.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=new)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(UsageError, match=r"is truncated, damaged|is damaged, or holds more"):
        read_state(path)


def test_what_is_no_state_file_at_all_is_told(tmp_path: Path):
    path = tmp_path / "state.pth"
    with pytest.raises(UsageError, match="there is no such weights file"):
        read_state(path)
    path.write_text("a\nlabel\nlist\n")
    with pytest.raises(UsageError, match=r"state.pth: (is no state file|cannot be read as weights)"):
        read_state(path)


def test_an_archive_that_unpacks_to_far_more_is_not_opened(tmp_path: Path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(UsageError, match=r"would unpack from \d+ to 50000000 bytes.*do not trust"):
        read_state(path)
