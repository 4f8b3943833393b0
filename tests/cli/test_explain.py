"""``streamvision explain``, with a network that looks at one quadrant."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from streamvision.cli import app
from streamvision.draw import to_jpeg
from streamvision.errors import StreamvisionError
from streamvision.explain.shelf import Request, Shelf
from streamvision.explain.targets import Object
from tests.explain.engines import picture, quadrant_network
from tests.explain.scenes import watching


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "shot.png"), picture())
    return tmp_path / "shot.png"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return quadrant_network(tmp_path)


def test_a_detection_is_explained_and_drawn(shot: Path, toy: Path, tmp_path: Path):
    out = tmp_path / "map.png"
    result = run(shot, "--model", toy, "--backend", "onnxruntime", "--masks", 300, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["target"]["class"] == "dog"
    assert found["score"] == pytest.approx(0.87, abs=0.03)
    assert found["peak_in_box"]
    assert found["energy_in_box"] > 1.5 * found["box_share"]
    assert found["deletion"] < found["deletion_backwards"] - 0.2
    assert found["doubts"] == []
    drawn = cv2.imread(str(out)).astype(int)
    warm = drawn[..., 2] - drawn[..., 0]
    assert drawn.shape == (128, 192, 3)
    assert warm[20:50, 30:70].mean() > warm[20:50, 120:].mean() + 20


def test_the_same_seed_says_the_same_and_words_are_for_people(shot: Path, toy: Path):
    command = (shot, "--model", toy, "--backend", "onnxruntime", "--masks", 60, "--class", "dog")
    first, second = run(*command), run(*command)
    assert first.stdout == second.stdout
    assert first.stdout.startswith("dog: 0.8")
    assert "60 masks" in first.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "explain what"),
        (("SHOT", "--event", "01A"), "explain what"),
        (("--event", "01A"), "explain what"),
        (("SHOT", "--model", "motion"), "it sees what moves"),
        (("SHOT", "--model", "TOY", "--detection", "7"), "sees 1 of the kind"),
        (("SHOT", "--model", "TOY", "--class", "dog", "--detection", "1"), "no number 1"),
        (("SHOT", "--model", "TOY", "--class", "frog"), "'frog'"),
        (("SHOT", "--model", "TOY", "--map", "lane", "--class", "dog"), "no label map 'lane'"),
        (("SHOT", "--model", "TOY", "--method", "gradcam"), "cannot be looked into"),
        (("SHOT", "--model", "TOY", "--layer", "neck"), "for --method gradcam"),
        (("SHOT", "--model", "TOY", "--region", "0,0,2,1"), "--region"),
        (("SHOT", "--model", "TOY", "--masks", "20", "--out", "map.gif"), "'.gif'"),
        (("SHOT@5s", "--model", "TOY"), "ends before 5s"),
        (("SHOT@soon", "--model", "TOY"), "after @"),
        (("FOLDER/none.png", "--model", "TOY"), "none.png"),
        (("--event", "01A", "--config", "CONFIG"), "no picture of this event is kept"),
    ],
)
def test_what_cannot_be_explained_is_said(arguments: tuple[str, ...], said: str, shot: Path, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(watching(tmp_path, 1))
    places = {"SHOT": str(shot), "TOY": str(tmp_path / "toy.yaml"), "FOLDER": str(tmp_path),
              "CONFIG": str(tmp_path / "config.yaml")}  # fmt: skip
    for name, place in places.items():
        arguments = tuple(one.replace(name, place) for one in arguments)
    extra = ("--backend", "onnxruntime") if "--model" in arguments and "motion" not in arguments else ()
    result = run(*arguments, *extra)
    assert isinstance(result.exception, StreamvisionError), result.output
    assert result.exception.exit_code in (2, 3)
    assert said in str(result.exception)


def test_a_kept_picture_is_explained_later(tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text(watching(tmp_path, 1))
    shelf = Shelf(tmp_path / "state")
    target = Object(1, "dog", (12.0, 12.0, 84.0, 52.0))
    shelf.keep(Request("01A", "gate", "anyone", "toy", target), to_jpeg(np.ascontiguousarray(picture()), 95))
    result = run("--event", "01A", "--config", config, "--masks", 60, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["target"]["xyxy"] == list(target.xyxy)
    assert shelf.explanation("01A") is not None
    assert list(shelf.pending()) == []
