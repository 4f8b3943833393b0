"""The pipeline beside its parts: the arithmetic from scripted samples, and one small real run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamvision.benchmark import (
    Limits,
    Sample,
    bench_settings,
    decode_all,
    interleaved,
    measure_limits,
    measured,
    median_ratio,
    on_film,
)
from streamvision.capture.street.encode import write_street
from streamvision.config import Settings, load_settings
from streamvision.errors import CaptureError

PICTURES = 20


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    write_street(path, seconds=2.0, size_wh=(320, 180), fps=PICTURES / 2)
    return path


def settings(folder: Path, text: str) -> Settings:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def sample(cpu_ms: float, fps: float = 100.0, analysed: int | None = None) -> Sample:
    return Sample(100, 100 / fps, cpu_ms / 10, analysed)


def test_a_sample_speaks_per_picture():
    one = Sample(pictures=200, wall_s=4.0, cpu_s=1.0, analysed=50)
    assert (one.fps, one.cpu_ms, one.analysed_share) == (50.0, 5.0, 0.25)
    assert Sample(10, 1.0, 1.0).analysed_share == 1.0


def test_measuring_counts_what_the_work_did():
    one = measured(lambda: sum(1 for _ in range(1000)))
    assert one.pictures == 1000
    assert one.wall_s > 0
    assert one.cpu_s >= 0


def test_rounds_take_every_work_in_turn():
    order: list[str] = []

    def work(name: str) -> Callable[[], Sample]:
        def run() -> Sample:
            order.append(name)
            return sample(len(order))

        return run

    steps: list[int] = []
    found = interleaved({"a": work("a"), "b": work("b")}, 2, lambda: steps.append(len(order)))
    assert order == ["a", "b", "a", "b"]
    assert steps == [1, 2, 3, 4]
    assert [one.cpu_ms for one in found["b"]] == pytest.approx([2, 4])


def test_the_ratio_is_taken_round_by_round():
    assert median_ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0  # and not 8 / 2


@pytest.mark.parametrize(
    ("whole", "cpu_ratio"),
    [
        (sample(11.0), 1.1),
        (sample(6.0, analysed=50), 1.0),
        (sample(3.0, analysed=0), 1.5),
    ],
    ids=["all analysed", "every second one", "none"],
)
def test_cpu_is_compared_with_the_sum_of_the_parts_that_were_needed(whole: Sample, cpu_ratio: float):
    limits = Limits([sample(2.0)], [sample(1.0)], [sample(7.0)], [whole])
    assert limits.cpu_ratio == pytest.approx(cpu_ratio)


@pytest.mark.parametrize(
    ("decode_fps", "engine_fps", "decoders", "analysed", "ratio"),
    [
        (200.0, 100.0, 1, 100, 0.5),  # the engine is slower
        (80.0, 100.0, 1, 100, 0.625),  # decoding is
        (80.0, 100.0, 2, 100, 0.5),  # two decode at a time
        (400.0, 100.0, 1, 50, 0.25),  # half the pictures need the engine
    ],
)
def test_throughput_is_compared_with_the_slowest_part(
    decode_fps: float, engine_fps: float, decoders: int, analysed: int, ratio: float
):
    limits = Limits(
        [sample(1, decode_fps)], [sample(1)], [sample(1, engine_fps)], [sample(1, 50.0, analysed)], decoders
    )
    assert limits.throughput_ratio == pytest.approx(ratio)


def test_a_configuration_is_put_on_film(tmp_path: Path, street: Path):
    text = f"""
state_dir: {tmp_path / "theirs"}
models: {{moving: {{manifest: motion}}, also: {{manifest: motion}}}}
streams:
  - id: gate
    url: rtsp://192.0.2.1/one
    transport: tcp
    model: moving
    fps: 5
    zones: {{yard: [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]}}
    rules: [{{name: intruder, type: zone, zone: yard}}]
  - {{id: other, url: 'demo:street', model: also}}
  - {{id: yard, url: 'demo:street', model: moving}}
sinks: [{{name: log, type: jsonl, path: events.jsonl}}]
"""
    given = settings(tmp_path, text)
    filmed = on_film(given, str(street), tmp_path / "ours")
    assert [stream.id for stream in filmed.streams] == ["gate", "yard"]
    assert {(stream.kind, stream.url) for stream in filmed.streams} == {("file", str(street))}
    assert (filmed.streams[0].fps, filmed.streams[0].rules) == (5, given.streams[0].rules)
    assert (filmed.sinks, filmed.state_dir) == ((), tmp_path / "ours")


def test_every_part_and_the_whole_see_every_picture(tmp_path: Path, street: Path):
    text = bench_settings(tmp_path / "state", str(street), manifest="motion", streams=2, fps=5)
    steps: list[None] = []
    limits = measure_limits(settings(tmp_path, text), str(street), rounds=1, step=lambda: steps.append(None))
    assert len(steps) == 4
    parts = (limits.decode, limits.scale, limits.engine, limits.pipeline)
    assert [part[0].pictures for part in parts] == [PICTURES, PICTURES, PICTURES, 2 * PICTURES]
    assert limits.pipeline[0].analysed_share == 0.5
    assert limits.cpu_ratio > 0
    assert limits.throughput_ratio > 0


def test_a_film_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(CaptureError):
        decode_all(str(tmp_path / "none.mp4"))


def test_the_command_prints_a_table_and_no_log(street: Path):
    command = [sys.executable, "-m", "streamvision", "bench", "--model", "motion", "--streams", "2", "--fps", "5"]
    done = subprocess.run(
        [*command, "--video", str(street), "--rounds", "1"],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"COLUMNS": "120"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "the whole pipeline" in done.stdout
    assert "motion, 2 streams, one round" in done.stdout
    assert "Analysed: 50% of the pictures" in done.stdout
    assert "times the sum of its parts" in done.stdout
