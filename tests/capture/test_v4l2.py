from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from streamvision.capture.v4l2 import V4l2Source, device_options
from streamvision.clock import SystemClock
from streamvision.errors import CaptureError, SourceNotFound, UnsupportedMedia


def _source(url: str) -> V4l2Source:
    return V4l2Source(url, V4l2Source.Options(), SystemClock())


@pytest.mark.parametrize("url", ["/dev/video97", "v4l2:/dev/video97"])
def test_a_device_that_is_not_there(url: str) -> None:
    with pytest.raises(SourceNotFound, match="no such device") as caught:
        _source(url).open()
    assert caught.value.where == "/dev/video97"
    assert "ls /dev/video*" in str(caught.value)


def test_a_file_is_no_device(tmp_path: Path) -> None:
    path = tmp_path / "video0"
    path.touch()
    with pytest.raises(UnsupportedMedia, match="not a device"):
        _source(str(path)).open()


def test_a_device_that_is_no_camera() -> None:
    source = _source("/dev/null")
    with pytest.raises(CaptureError):
        source.open()
    source.close()


@pytest.mark.skipif(os.geteuid() == 0 or not Path("/dev/mem").exists(), reason="needs a device we may not open")
def test_a_device_without_permission_names_the_group() -> None:
    with pytest.raises(SourceNotFound, match="group 'video'"):
        _source("/dev/mem").open()


def test_what_is_asked_of_the_device() -> None:
    asked = V4l2Source.Options(size=(1280, 720), frame_rate=30, pixel_format="mjpeg")
    assert device_options(asked) == {"video_size": "1280x720", "framerate": "30", "input_format": "mjpeg"}
    assert device_options(V4l2Source.Options()) == {}


@pytest.mark.parametrize("wrong", [{"size": (0, 10)}, {"frame_rate": -1}, {"colour": "blue"}])
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        V4l2Source.Options.model_validate(wrong)
