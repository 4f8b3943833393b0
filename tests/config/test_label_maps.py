"""Rules that read label maps are checked against the maps of the stream's model."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.config import load_settings
from streamvision.errors import ConfigError

MAPS = {
    "street": {"drivable": ("background", "drivable"), "lane": ("background", "lane")},
    "boxes": {},
}
LABELS = {"street": (), "boxes": ("person", "car")}

CONFIG = """\
models: {{m: {{manifest: {manifest}}}}}
streams:
  - id: gate
    url: video.mp4
    zones: {{road: [[0, 0.5], [1, 0.5], [1, 1]]}}
    rules:
      - {{name: r, type: area, zone: road, {rule}}}
"""


def problems(folder: Path, rule: str, manifest: str = "street", *, known: bool = True) -> list[tuple[int, int, str]]:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(rule=rule, manifest=manifest), encoding="utf-8")
    asked = {"labels_of": LABELS.__getitem__, "maps_of": MAPS.__getitem__} if known else {}
    try:
        load_settings(path, env={}, **asked)
    except ConfigError as error:
        return [(one.line, one.column, f"{one.message}; {one.remedy}") for one in error.problems]
    return []


@pytest.mark.parametrize("rule", ["classes: [drivable]", "classes: [lane], map: lane", "classes: [background, lane]"])
def test_what_the_model_has_is_right(tmp_path: Path, rule: str):
    assert problems(tmp_path, rule) == []


@pytest.mark.parametrize(
    ("rule", "manifest", "column", "words"),
    [
        ("classes: [lane], map: lanes", "street", 65, "makes no label map 'lanes'; did you mean 'lane'?"),
        ("classes: [drivble]", "street", 53, "label maps have no class 'drivble'; did you mean 'drivable'?"),
        ("classes: [lane], map: drivable", "street", 53, "the label map 'drivable' has no class 'lane'; known: "),
        ("classes: [lane, drivable]", "street", 52, "of different label maps; write a rule for each map"),
        ("classes: [person]", "boxes", 25, "makes no label maps; choose a model for semantic segmentation"),
        ("classes: []", "street", 52, "at least 1"),
        ("classes: [lane], min_share: 0.1, max_share_end: 0.2", "street", 9, "max_share_end (0.2) is above min_share"),
    ],
)
def test_what_it_does_not_have_is_told_with_its_place(
    tmp_path: Path, rule: str, manifest: str, column: int, words: str
):
    ((line, at, said),) = problems(tmp_path, rule, manifest)
    assert words in said
    assert (line, at) == (7, column)


def test_without_knowing_the_model_nothing_is_told(tmp_path: Path):
    assert problems(tmp_path, "classes: [anything]", known=False) == []


def test_detections_classes_are_still_checked_beside_it(tmp_path: Path):
    path = tmp_path / "config.yaml"
    text = CONFIG.format(rule="classes: [lane]", manifest="street")
    path.write_text(f"{text}      - {{name: z, type: zone, zone: road, classes: [lane]}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="the model knows no class 'lane'"):
        load_settings(path, env={}, labels_of=LABELS.__getitem__, maps_of=MAPS.__getitem__)
