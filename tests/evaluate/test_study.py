"""A study of a simple engine: what bad pictures do to it, how fast it is, and the report of it all."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamvision.dataset import Example, Objects
from streamvision.errors import DataError, MissingError, UsageError
from streamvision.evaluate import Names, Question, Study, as_json, speed, study
from streamvision.evaluate.report import render
from streamvision.evaluate.robustness import KINDS, Robustness, subset
from streamvision.evaluate.summary import difference
from tests.evaluate.scenes import CLASSES, ROAD, SIZE, ColourEngine, drawn

pytest.importorskip("pycocotools", reason="pycocotools measures")

NAMES = Names(CLASSES, {"scene": ROAD})


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Study:
    dataset = drawn(tmp_path_factory.mktemp("rooms"))
    question = Question(dataset, voc=True, robustness=3, group="time", speed=False)
    return study(ColourEngine(), NAMES, question, model="colours", summary="sees <colours>")


def test_boxes_and_maps_in_one_pass(everything: Study):
    figures = everything.figures
    assert figures["AP50"] == pytest.approx(1)
    assert figures["VOC_AP50"] == pytest.approx(1)
    assert figures["mIoU"] == pytest.approx(everything.evaluation.maps["scene"].miou)
    assert 0.7 < figures["mIoU"] < 1  # a box that stands on the road hides a part of it
    assert figures["best_F1"] == pytest.approx(1)


def test_robustness_is_monotone_for_an_eye_that_cannot_adapt(everything: Study):
    found = everything.robustness
    assert found is not None
    assert found.pictures == 3
    assert set(found.spoilt) == set(KINDS)
    for kind in ("dark", "fog"):
        aps = [found.clean["AP"], *(row["AP"] for row in found.spoilt[kind])]
        assert aps == sorted(aps, reverse=True), kind
        assert aps[-1] < aps[0]
        ious = [found.clean["mIoU"], *(row["mIoU"] for row in found.spoilt[kind])]
        assert ious[-1] < ious[0]
    for kind in KINDS:
        assert found.left("mIoU")[kind] <= 1 + 1e-9


def test_robustness_is_the_same_each_time(tmp_path: Path):
    question = Question(drawn(tmp_path, 2), robustness=2)
    first, second = (study(ColourEngine(), NAMES, question).robustness for _ in range(2))
    assert first is not None
    assert first == second


def test_what_is_left_without_anything_to_lose():
    found = Robustness(1, {"AP": 0.0}, {"fog": [{"AP": 0.0}] * 5})
    assert np.isnan(found.left("AP")["fog"])


def test_a_subset_is_drawn_evenly(tmp_path: Path):
    dataset = drawn(tmp_path, 5)
    assert subset(dataset, 3) == dataset.examples[::2]
    assert subset(dataset, 9) == dataset.examples


def test_groups_of_a_metadata_column(everything: Study):
    assert [(one.name, one.pictures) for one in everything.groups] == [("day", 2), ("night", 2)]
    assert {one.figure for one in everything.gaps} >= {"AP", "mIoU"}


def test_json_has_no_nan_and_the_main_figures_at_the_top(everything: Study):
    table = json.loads(json.dumps(as_json(everything), allow_nan=False))
    assert {"model", "images", "AP", "AP50", "AP75", "mIoU", "VOC07_AP50"} <= set(table)
    assert table["images"] == 4
    assert table["AP_large"] is None
    assert table["by_class"]["car"]["objects"] == 4
    assert table["classes"].keys() == {"background", "road"}
    assert table["confusion"]["rows"][0][0] == 4
    assert len(table["robustness"]["fog"]) == 5
    assert table["groups"]["day"]["images"] == 2


def test_a_blind_network_beside_one_that_sees(tmp_path: Path, everything: Study):
    dataset = drawn(tmp_path)
    blind = study(ColourEngine(blind="person"), NAMES, Question(dataset), model="blind")
    assert blind.figures["AP50"] == pytest.approx(0.5)
    assert difference(everything, blind)["AP50"] == pytest.approx(0.5)
    page = render(everything, blind)
    assert "blind" in page
    assert "+0.500" in page


def test_speed_counts_pictures_and_milliseconds(tmp_path: Path):
    ticks = itertools.count()
    got = speed(ColourEngine(), drawn(tmp_path).examples, seconds=0.5, clock=lambda: next(ticks) / 1000)
    # Every look at the clock takes 1 ms: one for each step that is measured.
    assert got.engine_ms == pytest.approx(1)
    assert got.engine_p95_ms == pytest.approx(1)
    assert got.decode_ms == pytest.approx(1)
    assert got.prepare_ms == pytest.approx(1)


def test_a_picture_of_another_size_is_refused(tmp_path: Path):
    dataset = drawn(tmp_path, 1)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((10, 12, 3), np.uint8))
    with pytest.raises(DataError, match=f"is 12x10, but the data says {SIZE[0]}x{SIZE[1]}"):
        study(ColourEngine(), NAMES, Question(dataset))


def test_a_group_that_is_not_there_is_told_before_the_work(tmp_path: Path):
    dataset = drawn(tmp_path, 1)
    (tmp_path / "0.png").unlink()
    with pytest.raises(UsageError, match="no picture has a column 'weather'"):
        study(ColourEngine(), NAMES, Question(dataset, group="weather"))


class Page(HTMLParser):
    """Notes whatever a page would fetch, and that every element is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "poster", "action") and not str(value).startswith(
                ("data:", "#")
            ):
                self.fetched.append(str(value))
            if name == "href":
                self.links.append(str(value))
            if name == "id":
                self.ids.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_report_is_whole_and_needs_nothing_from_elsewhere(everything: Study):
    text = render(everything)
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert not re.search(r"@import|url\(|<script|<link|<iframe", text)
    assert "http://www.w3.org/2000/svg" in text
    assert not [one for one in re.findall(r"https?://[^\s\"'<]+", text) if one != "http://www.w3.org/2000/svg"]


def test_the_report_says_what_it_should(everything: Study):
    text = render(everything)
    page = Page(text)
    expected = ("colours", "sees <colours>", "AP50", "person", "Confusion", "Calibration", "Robustness", "compression")
    for words in (*expected, "Groups", "night", "Worst pictures: label map scene", "numpy", "4 pictures of rooms"):
        assert words in page.words, words
    assert "sees &lt;colours&gt;" in text
    assert text.count("data:image/jpeg;base64,") == 2  # the others were seen without a mistake
    assert text.count("<polyline") >= 2 + 2 * len(KINDS)
    assert "prefers-color-scheme: dark" in text


def test_the_report_shows_the_worst_pictures_with_boxes(tmp_path: Path):
    blind = study(ColourEngine(blind="person"), NAMES, Question(drawn(tmp_path, 2)), model="blind")
    words = Page(render(blind)).words
    assert "Worst pictures: objects" in words
    assert "0.png: 0 false, 1 missed" in words


def test_the_report_of_a_classifier(tmp_path: Path):
    dataset = drawn(tmp_path, 3)
    alone = replace(dataset, examples=tuple(
        Example(one.path, one.size_wh, label=one.label) for one in dataset.examples), maps={})  # fmt: skip
    found = study(ColourEngine(), Names(CLASSES, whole=True), Question(alone), model="judge")
    assert found.figures == pytest.approx({"top1": 2 / 3, "top5": 1, "ECE": abs(0.7 - 2 / 3)}, abs=1e-6)
    page = Page(render(found))
    assert "top1" in page.words
    assert "1.png: car (0.70), but it is person" in page.words


def test_a_report_of_nothing_seen_and_nothing_there(tmp_path: Path):
    dataset = drawn(tmp_path, 1)
    empty = replace(dataset.examples[0], objects=Objects.none(), label_maps={})
    found = study(ColourEngine(0), NAMES, Question(replace(dataset, examples=(empty,)), voc=True), model="idle")
    assert np.isnan(found.figures["AP"])
    assert json.dumps(as_json(found), allow_nan=False)
    assert Page(render(found)).open == []


def test_without_jinja2_it_says_what_to_install(everything: Study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingError, match=r"pip install 'streamvision\[eval\]'"):
        render(everything)
