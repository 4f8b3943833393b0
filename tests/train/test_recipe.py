"""Recipes: what is wrong is told with its place; flags take the place of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.errors import ConfigError, UsageError
from streamvision.resources import shipped
from streamvision.train.recipe import Recipe, load, of_flags

GOOD = "network: sv-street\ndata: {train: pictures}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_short_recipe_is_enough(tmp_path: Path):
    recipe = load(written(tmp_path, GOOD))
    assert recipe.network == "sv-street"
    assert [str(part.path) for part in recipe.data.train] == ["pictures"]
    assert recipe.last_epoch == 50


def test_sets_are_paths_or_have_options(tmp_path: Path):
    text = "network: x\ndata:\n  train:\n    - a\n    - {path: 'voc:b@trainval', repeat: 0.5}\n  val: 'coco:c'\n"
    first, second = load(written(tmp_path, text)).data.train
    assert (str(first.path), first.format, first.repeat) == ("a", None, 1.0)
    assert (str(second.path), second.format, second.split, second.repeat) == ("b", "voc", "trainval", 0.5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + "bacth: 3\n", ":3:1: unknown key 'bacth'; did you mean 'batch'?"),
        (GOOD + "batch: many\n", ":3:8: batch: expected a whole number, not 'many'"),
        (GOOD + "optimiser: adam\n", ":3:12: optimiser: 'adam' is not one of the choices; did you mean 'adamw'?"),
        (GOOD + "size: big\n", ":3:7: size: 'big' is no size; write width x height, such as 640x384"),
        (GOOD + "max_time: 3 days\n", ":3:11: max_time: '3 days' is not a span of time"),
        (GOOD + "augmentation: {mosiac: 1}\n", ":3:16: unknown key 'mosiac'; did you mean 'mosaic'?"),
        ("network: x\ndata:\n  train:\n    - {path: a, repeats: 2}\n", ":4:17: unknown key 'repeats'; did you mean"),
        ("data: {train: a}\n", "'network' is missing"),
        ("network: x\n", "'data' is missing"),
        ("network: x\ndata: {train: []}\n", "train"),
        ("- network\n", ":1:1: expected keys with values; a recipe begins with, say, network: sv-street"),
        ("", ":1:1: the file is empty; a recipe names a network and data"),
        ("network: [\n", "YAML:"),
        (GOOD + "out: ${NOT_SET}\n", ":3:6: ${NOT_SET} is not set"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, problem: str):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    assert f"{path}" in str(caught.value)
    assert problem in str(caught.value)


def test_every_mistake_is_told_at_once(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, GOOD + "batch: 0\nepochs: none\nsede: 1\n"))
    assert [problem.line for problem in caught.value.problems] == [3, 4, 5]


def test_a_file_that_is_not_there_names_those_that_are(tmp_path: Path):
    with pytest.raises(ConfigError, match="give the path of a recipe, or one of: camvid, camvid-sv-street, idd-lite"):
        load(tmp_path / "nothing.yaml")


def test_flags_take_the_place_of_keys(tmp_path: Path):
    path = written(tmp_path, GOOD + "epochs: 3\n")
    recipe = load(path, {"epochs": 5, "data": {"val": ["other"]}, "size": "320x192", "checkpoint_every": "2m"})
    assert recipe.epochs == 5
    assert [str(part.path) for part in recipe.data.train] == ["pictures"]
    assert [str(part.path) for part in recipe.data.val] == ["other"]
    assert recipe.size == (320, 192)
    assert recipe.checkpoint_every.seconds == 120.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data": {"train": ["a"]}}, "network: is missing; give --network"),
        ({"network": "x"}, "data: is missing; give --data"),
        ({"network": "x", "data": {"train": ["a"]}, "size": "9"}, "'9' is no size"),
        ({"network": "x", "data": {"train": ["a"]}, "precision": "fp8"}, "precision"),
    ],
)
def test_flags_alone_are_checked_too(flags: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        of_flags(flags)


def test_a_recipe_is_written_and_read_without_a_change(tmp_path: Path):
    text = GOOD + "size: 320x192\nmax_time: 2h\ncheckpoint_every: 500\naugmentation: {preset: light, mosaic: 0.4}\n"
    recipe = load(written(tmp_path, text))
    values = recipe.model_dump(mode="json", exclude_none=True)
    assert Recipe.model_validate(values) == recipe


@pytest.mark.parametrize("path", sorted((shipped("configs") / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_sound(path: Path):
    variables = dict.fromkeys(("VOC", "CAMVID", "IDD_LITE", "PLATES"), "/somewhere")
    assert load(Path(path.stem), env=variables).network
