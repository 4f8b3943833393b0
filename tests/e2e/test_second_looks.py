"""Two real networks on one real video: people are followed by the first, and their faces looked for by the second."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import watch

pytestmark = pytest.mark.e2e

CONFIG = """
models:
  net: {{manifest: yolox-nano, backend: openvino}}
  face: {{manifest: yunet, backend: openvino, max_wait: 1ms}}
streams:
  - id: hall
    url: {video}
    model: net
    fps: 3
    min_score: 0.4
    models: [{{model: face, classes: [person], every: 1s, min_side: 40, min_score: 0.6}}]
    zones: {{all: [[0, 0], [1, 0], [1, 1], [0, 1]]}}
    rules:
      - {{name: anybody, type: zone, zone: all, classes: [person], min_dwell: 3s}}
      - {{name: away, type: zone, zone: all, classes: [person], min_dwell: 3s, where: {{face: none}}}}
      - {{name: facing, type: zone, zone: all, classes: [person], min_dwell: 3s, where: {{face: face}}}}
"""


def test_six_people_look_down_while_they_walk_to_the_table(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Seen by us: in none of the six visits a face is turned to the camera for long."""
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    video = data / "videos" / "one-by-one-person-detection.mp4"
    watched = watch(CONFIG.format(video=video), tmp_path, timeout_s=240)
    by_rule = {
        rule: [event["data"] for event in watched.of("zone.start") if event["data"]["rule"] == rule]
        for rule in ("anybody", "away", "facing")
    }
    assert [len(found) for found in by_rule.values()] == [6, 6, 0]
    for event in by_rule["anybody"]:
        face = event["track"]["attributes"]["face"]
        assert face["value"] == "none"
        assert 1 <= face["votes"] <= 20
    assert [one["media_s"] for one in by_rule["away"]] == [one["media_s"] for one in by_rule["anybody"]]
    looks = sum(watched.metrics.engine("face").batch_size.counts)
    assert 30 <= looks <= 139, "about one look per second of each visit, all visits together last less than the video"
