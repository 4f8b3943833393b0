"""`streamvision compress`, whole: from a run to a smaller model that an engine runs, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="compressing needs the extra train")
pytest.importorskip("torch_pruning", reason="compressing needs the extra train")
pytest.importorskip("pycocotools", reason="average precision needs the extra eval")

from streamvision.cli import app  # noqa: E402
from streamvision.compress import command  # noqa: E402
from streamvision.compress.measure import Comparison, Figures  # noqa: E402
from streamvision.compress.size import Size  # noqa: E402
from streamvision.compress.source import Run, module_of  # noqa: E402
from streamvision.engine import manifest  # noqa: E402
from streamvision.errors import StreamvisionError  # noqa: E402
from tests.train import shapes  # noqa: E402

QUICK = ["--size", "64x64", "--weights", "none", "--precision", "fp32", "--workers", "0", "--batch", "8", "--no-check"]
ONCE = ["--epochs", "1", "--backend", "onnxruntime"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.draw_classes(tmp_path_factory.mktemp("compress") / "classes", side=64)


@pytest.fixture(scope="module")
def trained(pictures: Path) -> Path:
    out = pictures.parent / "run"
    result = run("train", "--network", "mobilenetv3-small", "--data", pictures, "--epochs", 1, *QUICK, "--out", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def narrow(trained: Path) -> tuple[Path, dict[str, Any]]:
    out = trained.parent / "narrow"
    result = run("compress", trained, "--prune", 0.4, "--rounds", 2, "--importance", "taylor", *ONCE, "--out", out,
                 "--json", trained.parent / "narrow.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "pictures/s" in result.output
    return out, json.loads((trained.parent / "narrow.json").read_text())


def test_pruned_for_real(narrow: tuple[Path, dict[str, Any]], trained: Path) -> None:
    out, numbers = narrow
    before, after = numbers["before"], numbers["after"]
    assert 0.5 < after["macs"] / before["macs"] <= 0.6
    assert after["parameters"] < before["parameters"]
    assert after["bytes"] < before["bytes"]
    assert [each["removed"] > 0 for each in numbers["pruned"]] == [True, True]
    assert after["pictures_per_s"] > 0
    assert numbers["faster"] > 0
    model = manifest.load(out / "model" / "mobilenetv3-small-pruned.yaml")
    assert model.labels == manifest.load(trained / "model" / "mobilenetv3-small.yaml").labels
    assert {each.name for each in out.iterdir()} == {
        "best.pth", "environment.json", "model", "pruning.json", "recipe.yaml",
    }  # fmt: skip


def test_what_was_pruned_is_a_run_that_can_be_compressed_again(narrow: tuple[Path, Any], tmp_path: Path) -> None:
    assert sum(each.numel() for each in module_of(Run.read(narrow[0], None)).parameters()) < 1.3e6
    out = tmp_path / "small"
    result = run("compress", narrow[0], "--quantise", "aware", "--teacher", narrow[0], *ONCE, "--out", out)
    assert result.exit_code == 0, result.output
    model = manifest.load(out / "model" / "mobilenetv3-small-pruned-distilled-int8.yaml")
    assert model.quantised
    assert model.file is not None
    assert model.file.bytes is not None
    assert model.file.bytes < 2e6


def test_what_was_pruned_can_be_trained_further(narrow: tuple[Path, Any], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "further"
    result = run("train", "--network", "mobilenetv3-small", "--data", pictures, "--epochs", 1, *QUICK, "--weights",
                 narrow[0] / "best.pth", "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (out / "pruning.json").read_text() == (narrow[0] / "pruning.json").read_text()
    ours, theirs = (
        sum(each.numel() for each in module_of(Run.read(path, None)).parameters()) for path in (out, narrow[0])
    )
    assert ours == theirs
    again = run("train", "--resume", out)
    assert again.exit_code == 0, again.output


def test_a_models_file_is_quantised(trained: Path, pictures: Path, tmp_path: Path) -> None:
    model = trained / "model" / "mobilenetv3-small.yaml"
    out = tmp_path / "int8"
    result = run("compress", model, "--quantise", "after", "--data", pictures, "--name", "mine", "--backend",
                 "onnxruntime", "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert manifest.load(out / "model" / "mine.yaml").quantised
    again = run("compress", out / "model" / "mine.yaml", "--quantise", "after", "--data", pictures, "--out", out / "x")
    assert isinstance(again.exception, StreamvisionError)
    assert (again.exception.exit_code, "int8 already" in str(again.exception)) == (2, True)


def test_a_detector_learns_from_a_models_answers(tmp_path: Path) -> None:
    data = shapes.draw(tmp_path / "set", side=64)
    trained = tmp_path / "run"
    result = run("train", "--network", "sv-street", "--data", data, "--epochs", 1, *QUICK, "--out", trained)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    result = run("compress", trained, "--prune", 0.3, "--quantise", "after", "--teacher",
                 trained / "model" / "sv-street.yaml", *ONCE, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    model = manifest.load(out / "model" / "sv-street-pruned-distilled-int8.yaml")
    assert model.quantised
    assert set(model.segmentation) == set(manifest.load(trained / "model" / "sv-street.yaml").segmentation)


def test_what_is_worse_on_both_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(*_: object) -> Comparison:
        before = Figures("top1", {"top1": 0.75}, Size(1000, 10, 10), 50.0, "one engine")
        return Comparison(before, Figures("top1", {"top1": 0.5}, Size(1000, 10, 10), 40.0, "another"), 0.8)

    monkeypatch.setattr(command, "compare", worse)
    out = tmp_path / "deep" / "out"
    result = run("compress", trained, "--quantise", "after", "--out", out, "--json", tmp_path / "numbers.json")
    assert result.exit_code == 1
    for shown in ("REFUSED", "0.7500", "0.5000", "-0.2500", "x 0.80"):
        assert shown in result.output
    assert json.loads((tmp_path / "numbers.json").read_text())["refused"] is True
    assert not out.exists()
    assert not list(out.parent.iterdir()), "nothing is left beside it either"


BAD = {
    "nothing to do": ([], "nothing to do"),
    "a way that is none": (["--quantise", "before"], "choose from after, aware"),
    "a cost that is none": (["--prune", "0.3", "--prune-of", "bytes"], "choose from macs, parameters"),
    "an importance that is none": (["--prune", "0.3", "--importance", "age"], "choose from magnitude, bn, taylor"),
    "a name that is none": (["--prune", "0.3", "--name", "My Net"], "small letters"),
    "no data for val": (["--prune", "0.3", "--val", "x"], "give --data"),
    "data that is not there": (["--prune", "0.3", "--data", "not-there"], "not-there"),
    "more than there is": (["--prune", "0.95", "--epochs", "1"], "cannot be removed, at most"),
    "a teacher that is not there": (["--teacher", "no-such-model"], "no-such-model"),
    "a teacher of other things": (["--teacher", "motion", "--epochs", "1"], "knows nothing"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_told(what: str, trained: Path, tmp_path: Path) -> None:
    arguments, told = BAD[what]
    result = run("compress", trained, *arguments, "--out", tmp_path / "out")
    assert isinstance(result.exception, StreamvisionError), result.output
    assert result.exception.exit_code == 2
    assert told in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_sources_that_cannot_be_compressed(trained: Path, pictures: Path, tmp_path: Path) -> None:
    model = trained / "model" / "mobilenetv3-small.yaml"
    empty = tmp_path / "empty"
    empty.mkdir()
    half = tmp_path / "half"
    shutil.copytree(trained, half)
    shutil.rmtree(half / "model")
    few = pictures.parent / "few"
    shutil.copytree(pictures, few, dirs_exist_ok=True)
    for folder in {path.parent for path in few.rglob("*.*")}:
        for path in sorted(folder.glob("*.*"))[2:]:
            path.unlink()
    for source, arguments, told in (
        (model, ["--prune", "0.3", "--data", pictures], "cannot learn"),
        (model, ["--quantise", "after"], "give --data"),
        ("motion", ["--quantise", "after", "--data", pictures], "nothing to compress"),
        ("nobody", ["--quantise", "after", "--data", pictures], "no model called"),
        (empty, ["--prune", "0.3"], "no weights"),
        (half, ["--prune", "0.3"], "no exported model"),
        (model, ["--quantise", "after", "--data", few, "--val", pictures], "at least 8 pictures"),
    ):
        result = run("compress", source, *arguments, "--out", tmp_path / "out")
        assert isinstance(result.exception, StreamvisionError), (source, result.output)
        assert told in str(result.exception)
        assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_written_over(trained: Path) -> None:
    result = run("compress", trained, "--prune", "0.3", "--out", trained)
    assert "something already" in str(result.exception)


def test_help_has_an_example() -> None:
    assert "Example:" in run("compress", "--help").output
