from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from streamvision.metrics import CONTENT_TYPE, Histogram, Metrics
from streamvision.metrics.exposition import FAMILIES, prefix
from streamvision.types import StreamState


def filled(streams: int = 2) -> Metrics:
    metrics = Metrics()
    for index in range(streams):
        stats = metrics.stream(f"cam{index}")
        stats.state = StreamState.LIVE
        stats.decoded, stats.analysed = 100 + index, 60
        stats.skip("rate")
        stats.skip("motion")
        stats.drop("batch", "late")
        stats.reconnects["timeout"] += 2
        for name in ("person", "car", "bicycle", "truck", "dog"):
            stats.detections[name] += 7
            stats.tracks_active[name] = 1
        stats.events["intruder", "streamvision.zone.start"] += 1
        stats.explained["intruder"] += 1
        stats.unexplained["queue"] += 2
        stats.collected["doubtful"] += 3
        stats.uncollected["duplicate"] += 4
        for histogram in stats.ages.values():
            for value in (0.004, 0.05, 0.07, 99.0):
                histogram.observe(value)
    engine = metrics.engine("street")
    engine.state = "ready"
    engine.batch_size.observe(4)
    engine.seconds["infer"].observe(0.02)
    metrics.clock_synchronised, metrics.sleeps = True, 0
    metrics.reloads.results["applied"] += 1
    metrics.reloads.succeeded(1.0)
    sink = metrics.sink("log")
    sink.delivered, sink.pending, sink.lag_s, sink.dead_letters = 5, 2, 1.5, 1
    sink.failures["timeout"] += 3
    sink.given_up["max_age"] += 7
    metrics.outbox.open = True
    metrics.outbox.lost["memory"] += 2
    metrics.reloads.results["applied"] += 2
    metrics.reloads.succeeded(1_700_000_000.5)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.render().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"streamvision_{name}", frozenset(labels.items())]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("stream_state", {"stream": "cam0", "state": "live"}, 1),
        ("stream_state", {"stream": "cam0", "state": "backing_off"}, 0),
        ("stream_reconnects_total", {"stream": "cam0", "reason": "timeout"}, 2),
        ("frames_decoded_total", {"stream": "cam1"}, 101),
        ("frames_analysed_total", {"stream": "cam1"}, 60),
        ("frames_dropped_total", {"stream": "cam1", "stage": "batch", "reason": "late"}, 1),
        ("frames_skipped_total", {"stream": "cam1", "reason": "motion"}, 1),
        ("frames_in_flight", {"stream": "cam1"}, 38),
        ("frame_age_seconds_bucket", {"stream": "cam0", "stage": "event", "le": "0.05"}, 2),
        ("frame_age_seconds_bucket", {"stream": "cam0", "stage": "event", "le": "+Inf"}, 4),
        ("frame_age_seconds_count", {"stream": "cam0", "stage": "event"}, 4),
        ("frame_age_seconds_sum", {"stream": "cam0", "stage": "event"}, pytest.approx(99.124)),
        ("engine_batch_size_bucket", {"model": "street", "le": "2.0"}, 0),
        ("engine_batch_size_bucket", {"model": "street", "le": "4.0"}, 1),
        ("engine_seconds_count", {"model": "street", "stage": "infer"}, 1),
        ("engine_state", {"model": "street", "state": "ready"}, 1),
        ("engine_state", {"model": "street", "state": "loading"}, 0),
        ("tracks_active", {"stream": "cam0", "class": "dog"}, 1),
        ("detections_total", {"stream": "cam0", "class": "car"}, 7),
        ("events_total", {"stream": "cam0", "rule": "intruder", "type": "streamvision.zone.start"}, 1),
        ("explanations_total", {"stream": "cam0", "rule": "intruder"}, 1),
        ("explanations_dropped_total", {"stream": "cam0", "reason": "queue"}, 2),
        ("pictures_collected_total", {"stream": "cam0", "reason": "doubtful"}, 3),
        ("pictures_not_collected_total", {"stream": "cam0", "reason": "duplicate"}, 4),
        ("sink_delivered_total", {"sink": "log"}, 5),
        ("sink_failures_total", {"sink": "log", "reason": "timeout"}, 3),
        ("sink_pending", {"sink": "log"}, 2),
        ("sink_lag_seconds", {"sink": "log"}, 1.5),
        ("sink_dead_letters_total", {"sink": "log"}, 1),
    ],
)
def test_every_cell_comes_back_through_the_parser(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(filled(), name, **labels) == expected


def test_every_family_of_the_contract_is_told_once_with_kind_and_help() -> None:
    text = filled().render().decode()
    assert re.findall(r"^# TYPE streamvision_(\w+) (\w+)$", text, re.M) == [
        (name, kind) for name, (kind, _) in FAMILIES.items()
    ]
    assert len(re.findall(r"^# HELP streamvision_\w+ \S", text, re.M)) == len(FAMILIES)


def test_each_series_is_told_once() -> None:
    lines = [line for line in filled().render().decode().splitlines() if not line.startswith("#")]
    heads = [line.rsplit(" ", 1)[0] for line in lines]
    assert len(heads) == len(set(heads))


def test_the_process_tells_of_itself_and_of_its_version() -> None:
    names = {name for name, _ in samples(Metrics())}
    assert {"process_resident_memory_bytes", "process_open_fds", "streamvision_build_info"} <= names


def test_an_injected_registry_replaces_the_process_metrics() -> None:
    names = {name for name, _ in samples(Metrics(CollectorRegistry()))}
    assert names == {"streamvision_build_info"}


def test_counters_keep_large_integers_exact() -> None:
    metrics = Metrics()
    metrics.stream("cam").decoded = 2**60 + 1
    assert f"{2**60 + 1}\n" in metrics.render().decode()


def test_a_stream_that_is_gone_is_told_no_more_and_a_new_one_of_its_name_starts_anew() -> None:
    metrics = filled(1)
    metrics.render()
    del metrics.streams["cam0"]
    assert b'stream="cam0"' not in metrics.render()
    metrics.stream("cam0").decoded = 3
    assert value(metrics, "frames_decoded_total", stream="cam0") == 3


def test_the_second_scrape_sees_new_values_and_new_labels() -> None:
    metrics = filled(1)
    metrics.render()
    stats = metrics.stream("cam0")
    stats.decoded += 1
    stats.drop("capture", "corrupt")
    assert value(metrics, "frames_decoded_total", stream="cam0") == 101
    assert value(metrics, "frames_dropped_total", stream="cam0", stage="capture", reason="corrupt") == 1


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_survives_as_a_label(text: str) -> None:
    line = prefix("frames_decoded_total", stream=text) + "1\n"
    (family,) = text_string_to_metric_families(line)
    assert family.samples[0].labels == {"stream": text}


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    histogram = Histogram((0.5, 1.0, 10.0))
    for item in values:
        histogram.observe(item)
    expected = [sum(item <= bound for item in values) for bound in histogram.bounds]
    assert [sum(histogram.counts[: index + 1]) for index in range(3)] == expected
    assert sum(histogram.counts) == len(values)
    assert histogram.total == pytest.approx(sum(values))


@pytest.fixture
def busy() -> Iterator[Metrics]:
    """Metrics whose one stream is counted by another thread, new labels included, while they are read."""
    metrics = Metrics(CollectorRegistry())
    stats = metrics.stream("cam")
    over = threading.Event()

    def count() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            stats.decoded += 3
            stats.analysed += 1
            stats.skip(f"reason{turn % 500}")
            stats.drop("batch", f"reason{turn % 500}")

    thread = threading.Thread(target=count)
    thread.start()
    yield metrics
    over.set()
    thread.join()


def test_the_books_balance_in_every_scrape_while_others_count(busy: Metrics) -> None:
    for _ in range(20):
        found = samples(busy)
        total = dict.fromkeys(("decoded_total", "analysed_total", "dropped_total", "skipped_total", "in_flight"), 0.0)
        for (name, _), number in found.items():
            if name.startswith("streamvision_frames_"):
                total[name.removeprefix("streamvision_frames_")] += number
        assert total["in_flight"] >= 0
        assert total["decoded_total"] == sum(total.values()) - total["decoded_total"]
        assert busy.stream("cam").in_flight >= 0


def test_the_content_type_names_the_version_of_the_format() -> None:
    assert "version=0.0.4" in CONTENT_TYPE


def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian: prometheus) is not installed")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=filled().render(), capture_output=True, timeout=30, cwd=tmp_path
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
