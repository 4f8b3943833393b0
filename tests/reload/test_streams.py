"""Streams, rules and sinks change while the others run: what did not change notices nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import assert_balanced, read_events, running, wait_until
from tests.reload.scene import STREAMS, WAIT_S, ZONE, Recorder, change, more, rule, stream, unbroken


def lines(folder: Path, name: str) -> list[str]:
    path = folder / "var" / name
    return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_changed_rule_keeps_connection_tracks_and_the_happenings_of_the_others(street: Path, tmp_path: Path):
    recorder = Recorder()
    # One long pass through a slow scene: what is open when the rules change stays open for a while.
    before = STREAMS + stream("a", street, f"{ZONE}, rules: [{rule('kept')}, {rule('other')}, {rule('gone')}]")
    after = STREAMS + stream("a", street, f"{ZONE}, rules: [{rule('kept')}, {rule('other', 'left')}, {rule('fresh')}]")
    with running(before, tmp_path, viewer=recorder) as pipeline:
        events = pipeline.metrics.stream("a").events
        wait_until(lambda: events["gone", "streamvision.zone.start"] > 0, WAIT_S, pipeline)
        capture, count = pipeline._stages.rows["a"].capture, len(recorder.seen["a"])
        plan = change(pipeline, after, tmp_path)
        assert plan.as_json() == {"streams": {"changed": {"a": ["rules"]}}}
        wait_until(lambda: events["fresh", "streamvision.zone.start"] > 0, WAIT_S, pipeline)
        assert pipeline._stages.rows["a"].capture is capture
        more(pipeline, "a", by=3)
        assert recorder.tracks["a"][count - 1] & recorder.tracks["a"][count + 1]
    assert_balanced(pipeline.metrics.stream("a"))
    assert unbroken(recorder.numbers("a"))
    ends = {rule: [] for rule in ("kept", "other", "gone", "fresh")}
    for event in read_events(tmp_path / "var"):
        if event["type"] == "streamvision.zone.end":
            ends[event["data"]["rule"]].append(event["data"]["reason"])
    assert "reload" in ends["gone"]
    assert "reload" in ends["other"]
    assert "reload" not in ends["kept"]
    assert "reload" not in ends["fresh"]


@pytest.mark.parametrize(
    "detail",
    ["fps: 5", "privacy_masks: {w: [[0, 0], [0.2, 0], [0.2, 0.3]]}", "motion_gate: 'on'", "url"],
)
def test_a_changed_source_restarts_its_own_capture_and_no_other(detail: str, street: Path, tmp_path: Path):
    recorder, other = Recorder(), tmp_path / "other.mp4"
    other.write_bytes(street.read_bytes())
    neighbours = stream("n1", street) + stream("n2", street)
    changed = stream("a", other) if detail == "url" else stream("a", street, detail)
    with running(STREAMS + stream("a", street) + neighbours, tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a", "n1", "n2")
        rows = pipeline._stages.rows
        captures = {name: row.capture for name, row in rows.items()}
        plan = change(pipeline, STREAMS + changed + neighbours, tmp_path)
        assert plan.kept["streams"] == ["n1", "n2"]
        assert rows["a"].capture is not captures["a"]
        assert captures["a"].finished
        assert all(rows[name].capture is captures[name] for name in ("n1", "n2"))
        more(pipeline, "n1", "n2")
        more(pipeline, "a", by=3)
    for name in ("n1", "n2"):
        stats = pipeline.metrics.stream(name)
        assert unbroken(recorder.numbers(name))
        assert recorder.numbers(name)[0] == 0
        assert not {key: count for key, count in stats.dropped.items() if key != ("capture", "shutdown")}
        assert_balanced(stats)
    assert_balanced(pipeline.metrics.stream("a"))
    media = [info.media_s for info in recorder.seen["a"]]
    assert media == sorted(media)


def test_streams_come_and_go_while_the_others_run(street: Path, tmp_path: Path):
    recorder = Recorder()
    one = stream("a", street)
    visitor = stream("b", street, f"{ZONE}, rules: [{rule('r')}]")
    with running(STREAMS + one, tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a")
        change(pipeline, STREAMS + one + visitor, tmp_path)
        wait_until(lambda: pipeline.metrics.stream("b").events["r", "streamvision.zone.start"] > 0, WAIT_S, pipeline)
        gone = pipeline.metrics.stream("b")
        assert 'stream="b"' in pipeline.metrics.render().decode()
        change(pipeline, STREAMS + one, tmp_path)
        assert_balanced(gone)
        assert 'stream="b"' not in pipeline.metrics.render().decode()
        assert "capture-b" not in pipeline.heartbeats.ages_s()
        more(pipeline, "a")
        assert set(pipeline._stages.rows) == {"a"} == set(pipeline._stages.analysers)
    assert unbroken(recorder.numbers("a"))
    assert_balanced(pipeline.metrics.stream("a"))
    reasons = [e["data"]["reason"] for e in read_events(tmp_path / "var") if e["type"] == "streamvision.zone.end"]
    assert "reload" in reasons


def test_another_tracker_keeps_the_connection(street: Path, tmp_path: Path):
    recorder = Recorder()
    with running(STREAMS + stream("a", street), tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a")
        capture = pipeline._stages.rows["a"].capture
        before = max(max(ids, default=0) for ids in recorder.tracks["a"])
        change(pipeline, STREAMS + stream("a", street, "min_score: 0.8, tracker: {type: bytetrack}"), tmp_path)
        mark = len(recorder.tracks["a"])
        wait_until(lambda: any(recorder.tracks["a"][mark + 1 :]), WAIT_S, pipeline)
        assert pipeline._stages.rows["a"].capture is capture
        assert pipeline._stages.rows["a"].analyser.min_score == 0.8
        assert min(min(ids, default=before + 1) for ids in recorder.tracks["a"][mark + 1 :]) > before
    assert unbroken(recorder.numbers("a"))


def test_sinks_come_change_and_go_and_nothing_is_lost(street: Path, tmp_path: Path):
    line = stream(
        "a", street, "lines: {mid: [[0.5, 0], [0.5, 1]]}, rules: [{name: r, type: line, line: mid}]", "loop: true"
    )
    base = STREAMS + line

    def sinks(*named: tuple[str, str]) -> str:
        return "sinks: [" + ", ".join(f"{{name: {n}, type: jsonl, path: {p}}}" for n, p in named) + "]\n"

    with running(base + sinks(("log", "one.jsonl")), tmp_path) as pipeline:
        wait_until(lambda: len(lines(tmp_path, "one.jsonl")) > 3, WAIT_S, pipeline)
        change(pipeline, base + sinks(("log", "two.jsonl"), ("more", "more.jsonl")), tmp_path)
        wait_until(lambda: len(lines(tmp_path, "more.jsonl")) > 3, WAIT_S, pipeline)
        change(pipeline, base + sinks(("log", "two.jsonl")), tmp_path)
        assert set(pipeline.metrics.sinks) == {"log"}
        gone = lines(tmp_path, "more.jsonl")
        wait_until(lambda: len(lines(tmp_path, "two.jsonl")) > len(gone) + 3, WAIT_S, pipeline)
        assert lines(tmp_path, "more.jsonl") == gone
        change(pipeline, base + sinks(("log", "two.jsonl"), ("more", "again.jsonl")), tmp_path)
        wait_until(lambda: bool(lines(tmp_path, "again.jsonl")), WAIT_S, pipeline)
        rotate = ("log", "two.jsonl, rotate: {max_mb: 0.0001}")
        change(pipeline, base + sinks(rotate, ("more", "again.jsonl")), tmp_path)
        wait_until(lambda: len(list((tmp_path / "var").glob("two.jsonl.00*"))) > 1, WAIT_S, pipeline)
    stored = [event["id"] for event in read_events(tmp_path / "var")]
    files = ["one.jsonl", *sorted(path.name for path in (tmp_path / "var").glob("two.jsonl.00*")), "two.jsonl"]
    assert [one for name in files for one in lines(tmp_path, name)] == stored
    again = lines(tmp_path, "again.jsonl")  # its place in the store went with it: it begins where it came again
    assert again == stored[-len(again) :]
    assert len(again) < len(stored) - len(gone) - 3
