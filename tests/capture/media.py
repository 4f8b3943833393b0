"""Small videos drawn for a test, and what is done with every source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import count, groupby
from pathlib import Path

import av
import numpy as np
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext

from streamvision.errors import EndOfStream
from streamvision.interfaces import Source, SourcePicture

ENCODERS = {"h264": "libx264", "hevc": "libx265"}


def encode(
    path: Path,
    sizes_wh: Sequence[tuple[int, int]],
    *,
    codec: str = "h264",
    rate: int = 25,
    gop: int = 10,
    b_frames: int = 0,
    metadata: dict[str, str] | None = None,
    damage: Callable[[int, av.Packet], av.Packet | None] = lambda _index, packet: packet,
) -> Path:
    """Write a moving gradient, one picture per size; every new size begins a new sequence of the same stream.

    ``damage`` sees every packet by its number and may change or drop it.
    """
    runs = [(size, len(list(group))) for size, group in groupby(sizes_wh)]
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(ENCODERS.get(codec, codec), rate=rate)
        encoders = [stream.codec_context, *(CodecContext.create(stream.codec.name, "w") for _ in runs[1:])]
        numbers = count()
        first = 0
        for encoder, (size_wh, length) in zip(encoders, runs, strict=True):
            _configure(encoder, size_wh, rate, gop, b_frames)
            for packet in _packets(encoder, size_wh, range(first, first + length), rate):
                packet.stream = stream
                damaged = damage(next(numbers), packet)
                if damaged is not None:
                    container.mux(damaged)
            first += length
    return path


def cut(packet: av.Packet, keep: float) -> av.Packet:
    """Return a packet that lost its end."""
    return _with(packet, bytes(packet)[: int(packet.size * keep)])


def garbled(packet: av.Packet) -> av.Packet:
    """Return a packet of which only the first bytes make sense."""
    return _with(packet, bytes(packet)[:5] + b"\xff" * (packet.size - 5))


def _with(packet: av.Packet, data: bytes) -> av.Packet:
    other = av.Packet(data)
    other.pts, other.dts, other.time_base, other.stream = packet.pts, packet.dts, packet.time_base, packet.stream
    return other


def _configure(encoder: VideoCodecContext, size_wh: tuple[int, int], rate: int, gop: int, b_frames: int) -> None:
    encoder.width, encoder.height = size_wh
    encoder.pix_fmt, encoder.gop_size, encoder.max_b_frames = "yuv420p", gop, b_frames
    encoder.time_base, encoder.framerate = Fraction(1, rate), Fraction(rate)
    if encoder.codec.name == "libx264":
        encoder.options = {"preset": "ultrafast", "bf": str(b_frames)}


def _packets(
    encoder: VideoCodecContext, size_wh: tuple[int, int], numbers: Sequence[int], rate: int
) -> Iterator[av.Packet]:
    width, height = size_wh
    ramp = np.add.outer(np.arange(height), np.arange(width))
    for number in numbers:
        shade = ((ramp + 5 * number) % 256).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.stack([shade, shade[::-1], 255 - shade], axis=2)).reformat(
            format="yuv420p"
        )
        frame.pts, frame.time_base = number, Fraction(1, rate)
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def read_all(source: Source) -> list[SourcePicture]:
    """Open, read to the end and close."""
    pictures: list[SourcePicture] = []
    try:
        source.open()
        while True:
            pictures.extend(source.read())
    except EndOfStream:
        return pictures
    finally:
        source.close()


def read_some(source: Source, count: int) -> list[SourcePicture]:
    """Read at least ``count`` pictures of an opened source; its own deadlines bound the wait."""
    pictures: list[SourcePicture] = []
    while len(pictures) < count:
        pictures.extend(source.read())
    return pictures


def picture_sizes(pictures: Sequence[SourcePicture]) -> list[tuple[int, int]]:
    return [picture.picture.size_wh for picture in pictures]
