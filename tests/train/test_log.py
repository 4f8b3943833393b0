"""The written record: what a kill cut off does not count, what comes again is taken back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.train.checkpoint import At
from streamvision.train.log import MetricsLog, read_lines
from streamvision.train.reports import EpochDone, Stepped


def step(number: int, loss: float = 1.0) -> Stepped:
    return Stepped(number // 30, number, {"class": loss, "box": 2.0}, 0.1, 3.0, number / 60, float(number), 8)


def test_steps_are_summed_up_and_epochs_make_a_table(tmp_path: Path):
    log = MetricsLog(tmp_path, At())
    for number in range(1, 31):
        log.stepped(step(number, float(number)))
    log.epoch_done(EpochDone(0, 30, 30.0, 0.1, {"class": 15.5, "box": 2.0}, {"AP": 0.25, "AP50": float("nan")}, True))
    log.warned("something odd")
    steps = [row for row in read_lines(tmp_path / "metrics.jsonl") if row["kind"] == "steps"]
    assert [(row["step"], row["steps"], row["loss/class"], row["loss"]) for row in steps] == [
        (20, 20, 10.5, 12.5),
        (30, 10, 25.5, 27.5),
    ]
    with (tmp_path / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["epoch"], row["loss"], row["val/AP"], row["best"]) == ("0", "17.5", "0.25", "True")
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert json.loads(text.splitlines()[-1])["text"] == "something odd"


def test_what_comes_again_is_taken_back(tmp_path: Path):
    log = MetricsLog(tmp_path, At())
    for number in range(1, 61):
        log.stepped(step(number))
        if number % 30 == 0:
            log.epoch_done(
                EpochDone(number // 30 - 1, number, float(number), 0.1, {"class": 1.0}, {"AP": number / 100})
            )
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "epo')  # a kill in the middle of a line
    MetricsLog(tmp_path, At(epoch=1, batch=10, step=40))
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert [(row["kind"], row["step"]) for row in rows] == [("steps", 20), ("steps", 30), ("epoch", 30), ("steps", 40)]


def test_there_is_nothing_before_the_first_line(tmp_path: Path):
    assert read_lines(tmp_path / "metrics.jsonl") == []
