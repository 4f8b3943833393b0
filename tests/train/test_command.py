"""`streamvision train`, whole: a run folder, a model that an engine runs as PyTorch does, a kill, two processes."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="training needs the extra train")
pytest.importorskip("pycocotools", reason="average precision needs the extra eval")

from streamvision.cli import app  # noqa: E402
from streamvision.engine import manifest  # noqa: E402
from streamvision.engine.build import build_engine  # noqa: E402
from streamvision.errors import UsageError  # noqa: E402
from streamvision.evaluate.running import perceptions  # noqa: E402
from streamvision.export import registry  # noqa: E402
from streamvision.train.data import Batches  # noqa: E402
from streamvision.train.networks import table  # noqa: E402
from streamvision.train.recipe import load  # noqa: E402
from streamvision.train.setting import prepare  # noqa: E402
from tests.train import shapes  # noqa: E402

QUICK = ["--size", "96x64", "--weights", "none", "--precision", "fp32", "--workers", "0", "--batch", "8", "--no-check"]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.draw(tmp_path_factory.mktemp("shapes") / "set", side=64)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.draw_classes(tmp_path_factory.mktemp("classes") / "set", side=64)


def train(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def figures(run: Path) -> list[dict[str, float]]:
    kept = ("lr", "loss", "val")
    return [{name: float(value) for name, value in row.items() if name.startswith(kept) and value} for row in rows(run)]


def test_a_data_set_and_a_name_are_enough(labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = train("--network", "sv-street", "--data", labels, "--epochs", 2, "--size", "64x64", "--workers", 0)
    run = tmp_path / "runs" / "sv-street"
    assert result.exit_code == 0, result.output
    assert f"streamvision detect SOURCE --model {Path('runs/sv-street/model/sv-street.yaml')}" in result.output
    assert "learns   disc, square; scene (background, disc, square)" in result.output
    assert {path.name for path in run.iterdir()} >= {
        "recipe.yaml", "environment.json", "metrics.csv", "metrics.jsonl", "best.pth", "last.pth", "final.pth",
        "first-batch.jpg", "worst", "model", "tensorboard",
    }  # fmt: skip
    assert len(rows(run)) == 2
    assert json.loads((run / "environment.json").read_text())["data"]["val_pictures"] == 2
    assert load(run / "recipe.yaml").optimiser == "adamw"
    assert (run / "worst" / "pictures.txt").read_text().strip()
    assert manifest.load(run / "model" / "sv-street.yaml").labels == ("disc", "square")
    with pytest.raises(UsageError, match="there is a run already; go on with --resume"):
        train("--network", "sv-street", "--data", labels, "--out", run)


@pytest.mark.parametrize(
    "network",
    ["sv-street", "ssdlite320-mobilenetv3", "faster-rcnn-mobilenetv3-320", "lraspp-mobilenetv3", "mobilenetv3-small"],
)
def test_an_engine_sees_what_pytorch_sees(network: str, labels: Path, classes: Path, tmp_path: Path):
    data = classes if network == "mobilenetv3-small" else labels
    run = tmp_path / "run"
    result = train("--network", network, "--data", data, "--val", data, "--epochs", 2, "--out", run, *QUICK)
    assert result.exit_code == 0, result.output
    setting = prepare(load(run / "recipe.yaml"))
    module = registry.build(setting.engine, run / "best.pth", table.classes_of(setting.engine, setting.task)).module
    adapter = table.adapter(setting.engine, module.eval(), setting.task)
    spec = setting.task.input
    batch = next(Batches(setting.val, spec.size, 8, fit=spec.fit, pad=spec.pad).epoch(0))
    with torch.no_grad():
        theirs = adapter.predict(batch.pictures, batch.letterboxes)
    model = manifest.load(run / "model" / f"{network}.yaml")
    finds = model.labels and model.task != "classification"
    limits = {"min_score": table.MIN_SCORE, "max_detections": 300} if finds else {}
    built = build_engine(model, backend="openvino", precision="fp32", decoder_options=limits)
    with contextlib.closing(built) as engine:
        ours = [seen for _, seen in perceptions(engine, batch.examples)]
    for own, their in zip(ours, theirs, strict=True):
        _same(own, their)


def _same(own, their) -> None:
    """Compare all that either sees clearly; scores near a threshold may fall on either side of it."""
    count = min(5, len(their.detections))
    for index in np.argsort(-their.detections.score, kind="stable")[:count]:
        box, score = their.detections.xyxy[index], their.detections.score[index]
        near = np.abs(own.detections.xyxy - box).max(1) < 0.5
        near &= own.detections.class_id == their.detections.class_id[index]
        assert np.abs(own.detections.score[near] - score).min(initial=1.0) < 2e-3
    assert bool(len(own.detections)) == bool(len(their.detections))
    for one, other in zip(own.segmentation, their.segmentation, strict=True):
        assert one.name == other.name
        assert (one.label_map == other.label_map).mean() > 0.995
    if their.classification is not None:
        assert own.classification == pytest.approx(their.classification, abs=1e-3)


@pytest.fixture(scope="module")
def straight(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs that nothing disturbs."""
    run = tmp_path_factory.mktemp("straight") / "run"
    result = train(*flags(labels, run))
    assert result.exit_code == 0, result.output
    return run


def flags(labels: Path, run: Path) -> list[object]:
    own = ["--epochs", 4, "--seed", 3, "--out", run]
    return ["--network", "sv-street", "--data", labels, "--val", labels, *own, *QUICK]


def begun(labels: Path, run: Path) -> subprocess.Popen[str]:
    """Start a run in a process of its own: signals, and what they do to a runtime's threads, stay in there."""
    command = [sys.executable, "-m", "streamvision", "train", *map(str, flags(labels, run))]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_signal_ends_a_run_that_goes_on_later(labels: Path, straight: Path, tmp_path: Path):
    run, told = tmp_path / "run", ""
    with begun(labels, run) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told += line
            if line.startswith("epoch   2"):
                process.terminate()
        assert process.wait() == 0
    assert re.search(r"stopped in epoch [34], after \d+ steps?\nnext     streamvision train --resume", told), told
    assert not (run / "model").exists()
    assert train("--resume", run).exit_code == 0
    _same_curve(run, straight)


def test_a_kill_loses_nothing(labels: Path, straight: Path, tmp_path: Path):
    run = tmp_path / "run"
    with begun(labels, run) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch   2"):
                process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not (run / "final.pth").exists()
    assert len(rows(run)) < 4
    assert train("--resume", run).exit_code == 0
    _same_curve(run, straight)


def _same_curve(run: Path, straight: Path) -> None:
    ours, theirs = figures(run), figures(straight)
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    own, other = (torch.load(each / "best.pth", weights_only=True) for each in (run, straight))
    assert all(torch.allclose(own[name], other[name], rtol=1e-4, atol=1e-5) for name in other)


def test_a_run_that_is_resumed_takes_no_other_orders(straight: Path):
    result = CliRunner().invoke(app, ["train", "--resume", str(straight), "--epochs", "9"])
    assert "a run goes on as it began" in str(result.exception)
    result = CliRunner().invoke(app, ["train", "--resume", str(straight.parent)])
    assert "this is no run" in str(result.exception)


@pytest.mark.slow
def test_two_processes_train_one_network(labels: Path, tmp_path: Path):
    run = tmp_path / "run"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "streamvision", "train"]
    options = [*map(str, flags(labels, run)), "--batch", "4", "--epochs", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command, *options], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "8 pictures a step" in done.stdout
    assert len(re.findall(r"^epoch ", done.stdout, re.MULTILINE)) == 2
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    assert (run / "model" / "sv-street.yaml").is_file()


def test_data_that_cannot_be_learnt_from_ends_with_2_before_anything_begins(labels: Path, tmp_path: Path):
    document = json.loads(labels.read_text())
    document["annotations"][0]["bbox"] = [500, 500, 10, 10]
    broken = labels.parent / "broken.json"
    broken.write_text(json.dumps(document))
    run = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", "--network", "sv-street", "--data", str(broken), "--out", str(run)])
    assert "outside" in (result.output + str(result.exception))
    assert getattr(result.exception, "exit_code", result.exit_code) == 2
    assert not (run / "recipe.yaml").exists()


def test_the_same_pictures_to_learn_and_to_measure_are_refused(labels: Path, tmp_path: Path):
    result = train("--network", "sv-street", "--data", labels, "--val", labels, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "picture-in-both-splits" in result.output


def test_fine_tuning_takes_what_fits_and_names_the_rest(straight: Path, labels: Path, tmp_path: Path):
    document = json.loads(labels.read_text())
    document["categories"] = [*document["categories"], {"id": 3, "name": "star"}]
    more = labels.parent / "more.json"
    more.write_text(json.dumps(document))
    arguments = ["--network", "sv-street", "--data", more, "--val", more, "--epochs", 1, "--out", tmp_path / "run"]
    result = train(*arguments, *QUICK, "--weights", straight / "best.pth")
    assert result.exit_code == 0, result.output
    begun = result.output.splitlines()[0]
    assert re.search(r"best.pth, \d{3} tensors; begun anew: class_heads.0.last.weight, class_heads.0.last.bias", begun)
    assert manifest.load(tmp_path / "run" / "model" / "sv-street.yaml").labels == ("disc", "square", "star")


def test_weights_of_another_network_are_refused(straight: Path, labels: Path, tmp_path: Path):
    arguments = ["--network", "lraspp-mobilenetv3", "--data", labels, "--val", labels, "--out", tmp_path / "x", *QUICK]
    result = CliRunner().invoke(app, ["train", *map(str, arguments), "--weights", str(straight / "best.pth")])
    assert "is the state of another network" in str(result.exception)
