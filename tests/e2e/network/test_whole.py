"""What is lost on the way never passes for whole: every picture that is trusted is one of the camera's, to the bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import pytest

from streamvision.capture.picture import DecodedPicture
from streamvision.capture.rtsp import RtspSource
from streamvision.clock import SystemClock
from streamvision.interfaces import SourcePicture
from tests.scale import scaled
from tests.servers import RtspServer, requires_rtsp
from tests.servers.links import Network, need_links

from .scene import small

pytestmark = [pytest.mark.e2e, pytest.mark.slow, requires_rtsp]


def print_of(frame: av.VideoFrame) -> str:
    return hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()


def print_of_picture(picture: SourcePicture) -> str:
    assert isinstance(picture.picture, DecodedPicture)
    return print_of(picture.picture.frame)


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_no_damaged_picture_is_trusted(data: Path, tmp_path: Path, loss: float):
    need_links()
    clip = small(data / "videos" / "car-detection.mp4", tmp_path / "clip.mp4", options={"x264-params": "slices=4"})
    with av.open(str(clip)) as film:
        true = {print_of(frame) for frame in film.decode(video=0)}
    pictures: list[SourcePicture] = []
    with (
        Network(["way"]) as network,
        RtspServer({"cam": clip}, address="0.0.0.0", prefix=network.prefix("camera")) as server,
        network.inside("host"),
    ):
        url = server.url("cam", host=network.address("way"))
        source = RtspSource(url, RtspSource.Options(transport="udp"), SystemClock())
        source.open()
        network.set("way", loss=loss)
        while len(pictures) < scaled(60, 600):
            pictures += source.read()
        source.close()
    assert sum(picture.lost_packets for picture in pictures)
    damaged = [picture for picture in pictures if print_of_picture(picture) not in true]
    assert damaged, "the loss did something"
    assert all(picture.corrupt for picture in damaged)
