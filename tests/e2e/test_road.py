"""From a PyTorch state file to events on a real video: TwinLiteNet watches the road ahead of a car."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamvision.cli import app
from tests.harness import watch

pytestmark = pytest.mark.e2e

CONFIG = """
models: {{road: {{manifest: {manifest}, backend: openvino}}}}
streams:
  - id: car
    url: {video}
    fps: 5
    motion_gate: off
    zones:
      ahead: [[0.4, 0.75], [0.6, 0.75], [0.65, 1], [0.35, 1]]
      sky: [[0, 0.05], [1, 0.05], [1, 0.35], [0, 0.35]]
    rules:
      - {{name: free, type: area, zone: ahead, map: drivable, classes: [drivable], min_share: 0.8, update_every: 4s}}
      - {{name: flying, type: area, zone: sky, classes: [drivable], min_share: 0.02, min_duration: 0s}}
"""


def test_the_road_ahead_is_free_from_beginning_to_end(data: Path, tmp_path: Path):
    pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'streamvision[train]'")
    weights = data / "models/twinlitenet.pth"
    given = ["export", "twinlitenet", "--weights", str(weights), "--out", str(tmp_path), "--size", "320x192"]
    exported = CliRunner().invoke(app, given)
    assert exported.exit_code == 0, exported.output
    video = data / "videos/solidWhiteRight.mp4"
    seen = watch(CONFIG.format(manifest=tmp_path / "twinlitenet.yaml", video=video), tmp_path, timeout_s=240)
    # 221 pictures at 25 per second are 8.84 s; the road is there from the first one on.
    free = [event["data"] for event in seen.of("area")]
    assert {data["rule"] for data in free} == {"free"}
    assert [data["phase"] for data in free] == ["start", "update", "end"]
    assert [data["media_s"] for data in free] == [2.0, 6.0, 8.8]
    assert len({data["event"] for data in free}) == 1
    start, _, end = free
    assert start["evidence"]["share"] > 0.8
    assert start["evidence"]["pixels"] <= start["evidence"]["zone_pixels"]
    assert (start["map"], start["classes"]) == ("drivable", ["drivable"])
    ((left, top), (right, bottom)) = (map(edge, zip(*start["polygons"][0], strict=True)) for edge in (min, max))
    assert (left, right) == (pytest.approx(0.35 * 960, abs=6), pytest.approx(0.65 * 960, abs=6))
    assert (top, bottom) == (pytest.approx(0.75 * 540, abs=20), pytest.approx(540, abs=6))
    assert end["reason"] == "stream_end"
    stats = seen.metrics.stream("car")
    assert (stats.decoded, stats.analysed) == (221, 45)
    assert stats.decoded == stats.analysed + sum(stats.skipped.values())
