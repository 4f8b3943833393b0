"""Channels are really removed, and what is left can be stored, built again, exported and trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="pruning needs the extra train")
pytest.importorskip("torch_pruning", reason="pruning needs the extra train")

from torch import nn  # noqa: E402

from streamvision.compress.cost import Meter  # noqa: E402
from streamvision.compress.prune import prune  # noqa: E402
from streamvision.compress.views import outputs  # noqa: E402
from streamvision.errors import EngineError, UsageError  # noqa: E402
from streamvision.export import pruned, recipes, registry  # noqa: E402
from streamvision.export.weights import load_state  # noqa: E402

KINDS = {
    "sv-street": 96,
    "ssdlite320-mobilenetv3": 160,
    "retinanet-resnet50-v2": 64,
    "fcos-resnet50": 64,
    "faster-rcnn-mobilenetv3-320": 64,
    "unet-resnet34": 64,
    "lraspp-mobilenetv3": 64,
    "resnet18": 64,
    "mobilenetv3-small": 64,
}
"""Recipes, and a side of the pictures that they are tried with."""


def built(name: str, weights: Path | None = None) -> nn.Module:
    recipe = recipes.load(name)
    classes = None if recipe.exporter in ("semantic", "street") else 4
    torch.manual_seed(0)
    module: nn.Module = registry.build(recipe, weights, classes).module
    return module.eval()


def stored(module: nn.Module, folder: Path) -> Path:
    torch.save(module.state_dict(), folder / "best.pth")
    pruned.keep(module, folder)
    return folder / "best.pth"


@pytest.mark.parametrize("name", KINDS)
def test_channels_are_gone_and_the_files_make_the_same_network(name: str, tmp_path: Path) -> None:
    module, picture = built(name), torch.rand(1, 3, KINDS[name], KINDS[name])
    wanted = [each.shape for each in outputs(module, picture)]
    count = sum(each.numel() for each in module.parameters())
    result = prune(module, picture, 0.3)
    assert 0.62 < result.after.macs / result.before.macs <= 0.7, "as much as was asked for, and not much more"
    assert result.after == Meter(module, picture).cost()
    assert result.after.parameters == sum(each.numel() for each in module.parameters()) < count
    again = built(name, stored(module, tmp_path))
    assert str(again) == str(module), "every layer counts its channels as the pruned one does"
    with torch.no_grad():
        ours, theirs = outputs(module, picture), outputs(again, picture)
    assert [each.shape for each in ours] == wanted
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def answers(name: str, module: Any, picture: Any) -> list[Any]:
    """What the exported graph says, by PyTorch."""
    if name != "sv-street":
        seen = module(picture)
        return [seen.argmax(1).to(torch.uint8) if seen.dim() == 4 else seen]
    from streamvision.export.street.graph import Finished

    return list(Finished(module, (picture.shape[3], picture.shape[2]))(picture))


@pytest.mark.parametrize("name", ["sv-street", "unet-resnet34", "resnet18"])
def test_the_export_computes_what_the_pruned_network_does(name: str, tmp_path: Path) -> None:
    from streamvision.engine import graphs
    from streamvision.engine.ranges import Session

    side = KINDS[name]
    module, picture = built(name), torch.rand(1, 3, side, side)
    prune(module, picture, 0.3)
    weights, recipe = stored(module, tmp_path), recipes.load(name)
    classes = 4 if name == "resnet18" else None
    path = registry.export(registry.Request(recipe, tmp_path, name, (side, side), weights, classes))
    found = Session(graphs.read(path.with_suffix(".onnx"), name)).run(picture.numpy())
    with torch.no_grad():
        wanted = answers(name, module.eval(), picture)
    assert len(found) == len(wanted)
    for ours, other in zip(found, wanted, strict=True):
        if ours.dtype.kind == "f":
            torch.testing.assert_close(torch.from_numpy(ours), other, atol=2e-3, rtol=1e-3)
        else:
            assert (ours == other.numpy()).mean() > 0.99


def test_a_pruned_network_learns(tmp_path: Path) -> None:
    module, picture = built("mobilenetv3-small"), torch.rand(2, 3, 64, 64)
    prune(module, picture[:1], 0.4)
    again = built("mobilenetv3-small", stored(module, tmp_path)).train()
    again(picture).square().sum().backward()
    assert all(each.grad is not None and each.grad.shape == each.shape for each in again.parameters())


def test_a_network_can_be_pruned_twice(tmp_path: Path) -> None:
    module, picture = built("resnet18"), torch.rand(1, 3, 64, 64)
    first = prune(module, picture, 0.2)
    second = prune(module, picture, 0.2)
    assert second.before == first.after
    again = built("resnet18", stored(module, tmp_path))
    assert str(again) == str(module)
    record = json.loads((tmp_path / pruned.FILE).read_text())["tensors"]
    assert record["conv1.weight"]["was"] == [64, 3, 7, 7], "the recipe's shape, not that between the two times"


class Two(nn.Module):
    """Four channels, of which the first half do nothing, and a classifier."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.two = nn.Linear(width, 5)

    def forward(self, picture: Any) -> Any:
        return self.two(torch.relu(self.norm(self.one(picture))).mean((2, 3)))


@pytest.mark.parametrize("importance", ["magnitude", "bn", "taylor"])
def test_what_does_nothing_goes_first(importance: Any) -> None:
    torch.manual_seed(0)
    module, picture = Two().eval(), torch.rand(1, 3, 8, 8)
    useless = torch.arange(0, 32, 2)
    with torch.no_grad():
        module.norm.bias.fill_(0.1)  # nothing is cut off by the activation
        for tensor in (module.one.weight, module.norm.weight, module.norm.bias, module.one.bias):
            tensor[useless] = 0
        module.two.weight[:, useless] = 0
    module(picture).square().sum().backward()
    with torch.no_grad():
        wanted = module(picture)
    prune(module, picture, 0.5, importance=importance)
    assert module.one.out_channels == 16
    with torch.no_grad():
        torch.testing.assert_close(module(picture), wanted)


def test_the_share_of_the_parameters() -> None:
    module, picture = built("resnet18"), torch.rand(1, 3, 64, 64)
    result = prune(module, picture, 0.5, of="parameters")
    assert 0.45 < result.after.parameters / result.before.parameters <= 0.5


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, 0.999])
def test_a_share_that_cannot_be_removed(share: float) -> None:
    with pytest.raises(UsageError, match="cannot be removed"):
        prune(Two(), torch.rand(1, 3, 8, 8), share)


class Folded(nn.Module):
    """Its channels become rows of the picture, which no graph of channels can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 1)

    def forward(self, picture: Any) -> Any:
        seen = self.one(picture)
        return self.two(seen.view(1, 8, 8, *seen.shape[2:]).transpose(1, 2).reshape(1, 64, *seen.shape[2:]))


def test_a_network_that_cannot_be_pruned_says_so() -> None:
    with pytest.raises(EngineError, match=r"cannot be removed|would be"):
        prune(Folded(), torch.rand(1, 3, 8, 8), 0.5)


# the record of pruning


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    module = built("resnet18")
    prune(module, torch.rand(1, 3, 64, 64), 0.3)
    return stored(module, tmp_path)


def test_weights_without_their_record_are_refused(narrow: Path) -> None:
    (narrow.parent / pruned.FILE).unlink()
    with pytest.raises(UsageError, match="shapes differ"):
        built("resnet18", narrow)


def test_the_record_of_another_network_is_refused(narrow: Path) -> None:
    with pytest.raises(UsageError, match="another network"):
        built("mobilenetv3-small", narrow)


def test_another_number_of_classes_is_told_as_ever(narrow: Path) -> None:
    with pytest.raises(UsageError, match="--num-classes 4"):
        registry.build(recipes.load("resnet18"), narrow, 7)


HOSTILE = {
    "no JSON": "__import__('os').system('true')",
    "no mapping": "[1]",
    "another format": '{"format": 2, "tensors": {}}',
    "no tensors": '{"format": 1}',
    "tensors of another kind": '{"format": 1, "tensors": []}',
    "larger than it was": '{"format": 1, "tensors": {"fc.bias": {"was": [4], "is": [1000000000000]}}}',
    "nothing left": '{"format": 1, "tensors": {"fc.bias": {"was": [4], "is": [0]}}}',
    "negative": '{"format": 1, "tensors": {"fc.bias": {"was": [4], "is": [-1]}}}',
    "other sides": '{"format": 1, "tensors": {"fc.weight": {"was": [4, 512], "is": [4]}}}',
    "text": '{"format": 1, "tensors": {"fc.bias": {"was": ["4"], "is": ["3"]}}}',
    "true": '{"format": 1, "tensors": {"fc.bias": {"was": [4], "is": [true]}}}',
    "deep": '{"format": 1, "tensors": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "unknown tensor": '{"format": 1, "tensors": {"fc.__class__": {"was": [4], "is": [3]}}}',
    "outside": '{"format": 1, "tensors": {"../../x": {"was": [4], "is": [3]}}}',
    "a layer against itself": '{"format": 1, "tensors": {"conv1.weight": {"was": [64,3,7,7], "is": [10,3,7,7]}}}',
    "a bias against its weight": '{"format": 1, "tensors": {"fc.bias": {"was": [4], "is": [3]}}}',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_damaged_and_hostile_records_are_refused(what: str, narrow: Path) -> None:
    (narrow.parent / pruned.FILE).write_text(HOSTILE[what])
    with pytest.raises(UsageError):
        built("resnet18", narrow)


def test_a_huge_record_is_not_read(narrow: Path) -> None:
    with (narrow.parent / pruned.FILE).open("wb") as file:
        file.truncate(64 << 20)
    with pytest.raises(UsageError, match="larger than"):
        built("resnet18", narrow)


def test_a_layer_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    record = {"format": 1, "tensors": {"one.weight": {"was": [8, 1, 3, 3], "is": [5, 1, 3, 3]}}}
    (tmp_path / pruned.FILE).write_text(json.dumps(record))
    module = nn.ModuleDict({"one": nn.Conv2d(4, 8, 3, groups=4)})
    torch.save(module.state_dict(), tmp_path / "best.pth")
    with pytest.raises(UsageError, match="contradict"):
        load_state(module, tmp_path / "best.pth")


def test_an_unpruned_network_leaves_no_record(tmp_path: Path) -> None:
    assert pruned.keep(built("resnet18"), tmp_path) is None
    assert not list(tmp_path.iterdir())
