from __future__ import annotations

import io
import struct
import weakref
from pathlib import Path
from typing import get_args

import av
import pytest
from av.packet import PacketSideData, PktSideDataT

from streamvision.capture.demux import Demuxer, Medium
from streamvision.clock import SystemClock
from streamvision.errors import BrokenMedia, CaptureError, EndOfStream, UnsupportedMedia, without_frames

from .media import cut, encode, garbled, read_some


def _demuxer(path: Path, live: bool = False) -> Demuxer:
    return Demuxer(Medium(url=f"file:{path}", open_s=5.0, read_s=5.0, live=live), SystemClock())


def _all(demuxer: Demuxer) -> tuple[list[bool], CaptureError]:
    """Read to the end; return whether each picture was corrupt, and how it ended."""
    corrupt: list[bool] = []
    demuxer.open()
    try:
        while True:
            corrupt += [picture.corrupt for picture in demuxer.read()]
    except CaptureError as error:
        return corrupt, error
    finally:
        demuxer.close()


def test_one_broken_packet_marks_pictures_until_the_next_key_frame(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "clip.mkv",
        [(320, 240)] * 40,
        gop=10,
        damage=lambda number, packet: cut(packet, 0.3) if number == 13 else packet,
    )
    corrupt, end = _all(_demuxer(path))
    assert isinstance(end, EndOfStream)
    lost = 40 - len(corrupt)
    assert lost <= 1
    assert not any(corrupt[:13])
    assert all(corrupt[13 : 20 - lost])
    assert not any(corrupt[20 - lost :])


def test_nothing_is_shown_before_the_first_key_frame(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "clip.ts",
        [(320, 240)] * 30,
        gop=10,
        damage=lambda number, packet: None if number < 4 else packet,
    )
    corrupt, end = _all(_demuxer(path))
    assert isinstance(end, EndOfStream)
    assert len(corrupt) == 20
    assert not any(corrupt)


def test_a_stream_of_broken_packets_is_given_up(tmp_path: Path) -> None:
    def scramble(number: int, packet: av.Packet) -> av.Packet:
        return garbled(packet) if number else packet

    path = encode(tmp_path / "clip.mkv", [(320, 240)] * 150, gop=200, damage=scramble)
    corrupt, end = _all(_demuxer(path))
    assert isinstance(end, BrokenMedia)
    assert "in a row" in end.what
    assert len(corrupt) == 1


def test_audio_alone_is_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UnsupportedMedia, match="only audio"):
        _demuxer(path).open()


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    cover = io.BytesIO()
    with av.open(cover, "w", format="mjpeg") as container:
        still = container.add_stream("mjpeg", rate=1)
        still.width, still.height, still.pix_fmt = 640, 480, "yuvj420p"
        container.mux(still.encode(av.VideoFrame(640, 480, "yuvj420p")))
        container.mux(still.encode(None))
    path = tmp_path / "song.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(video.encode(None))
    demuxer = _demuxer(path)
    demuxer.open()
    pictures = read_some(demuxer, 5)
    demuxer.close()
    assert {picture.picture.size_wh for picture in pictures} == {(64, 48)}


def test_reception_is_stated_for_every_picture_before_it_is_decoded(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(64, 48)] * 20, b_frames=2)
    clock = SystemClock()
    demuxer = _demuxer(path)
    before_s = clock.monotonic()
    demuxer.open()
    received = [picture.received_s for picture in read_some(demuxer, 20)]
    demuxer.close()
    assert all(before_s <= moment <= clock.monotonic() for moment in received)


def test_files_state_no_sender_time(tmp_path: Path) -> None:
    demuxer = _demuxer(encode(tmp_path / "clip.mp4", [(64, 48)] * 5))
    demuxer.open()
    assert {picture.sender_utc for picture in read_some(demuxer, 5)} == {None}
    demuxer.close()


@pytest.mark.parametrize(("micros", "year"), [(1_780_000_000_000_000, 2026), (-(1 << 56), None), (1 << 62, None)])
def test_a_stated_time_is_of_our_time_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micros: int, year: int | None
) -> None:
    heard = Demuxer._demuxed

    def timed(demuxer: Demuxer) -> tuple[av.Packet | None, av.error.FFmpegError | None]:
        packet, error = heard(demuxer)
        if packet is not None and packet.size:
            data = PacketSideData(get_args(PktSideDataT).index("prft"), 16)
            data.update(struct.pack("=qq", micros, 0))
            packet.set_sidedata(data)
        return packet, error

    monkeypatch.setattr(Demuxer, "_demuxed", timed)
    demuxer = _demuxer(encode(tmp_path / "clip.mp4", [(64, 48)] * 5))
    demuxer.open()
    found = [picture.sender_utc for picture in read_some(demuxer, 5)]
    demuxer.close()
    assert [moment and moment.year for moment in found] == [None] + [year] * 4


def test_closing_twice_and_closing_unopened_is_harmless(tmp_path: Path) -> None:
    demuxer = _demuxer(encode(tmp_path / "clip.mp4", [(64, 48)] * 5))
    demuxer.close()
    demuxer.open()
    demuxer.close()
    demuxer.close()
    with pytest.raises(RuntimeError, match="not open"):
        _ = demuxer.container


def test_a_closed_demuxer_does_not_keep_what_ended_it(tmp_path: Path) -> None:
    demuxer = _demuxer(encode(tmp_path / "clip.mkv", [(64, 48)] * 3))
    ends = [weakref.ref(without_frames(_all(demuxer)[1]))]
    assert [end() for end in ends] == [None]
