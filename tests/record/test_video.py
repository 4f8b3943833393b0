"""Annotated pictures become a file that plays at the pace of the stream."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from streamvision.errors import UsageError
from streamvision.record.video import VideoWriter


def picture(value: int, size_wh: tuple[int, int] = (320, 240)) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)


def test_pictures_keep_their_own_times(tmp_path: Path):
    path = tmp_path / "out.mp4"
    times_s = [0.0, 0.04, 0.2, 1.0]
    with VideoWriter(path) as writer:
        for number, media_s in enumerate(times_s):
            writer.add(picture(number * 60), media_s)
    with av.open(path) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        found = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert found == pytest.approx(times_s, abs=1e-3)


def test_equal_times_are_moved_apart(tmp_path: Path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path) as writer:
        for _ in range(3):
            writer.add(picture(0), 0.5)
    with av.open(path) as container:
        pts = [frame.pts for frame in container.decode(video=0)]
    assert len(set(pts)) == 3


def test_an_odd_size_loses_its_last_row_and_column(tmp_path: Path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path) as writer:
        writer.add(picture(10, (321, 241)), 0.0)
    with av.open(path) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (320, 240)


@pytest.mark.parametrize("name", ["nowhere/out.mp4", "out.unknown"])
def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match=r"OUT\.mp4"):
        VideoWriter(tmp_path / name)
