"""A video file as access units that an RTSP server can send again and again without decoding them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
CACHE = Path(tempfile.gettempdir()) / "streamvision-test-media"


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit in Annex B form; times in nanoseconds from the first picture."""

    data: bytes
    pts_ns: int
    dts_ns: int
    key: bool


def prepare(source: Path, folder: Path, name: str, gop_s: float | None = None) -> Path:
    """Write ``name``.bin and ``name``.json into ``folder`` and return the latter.

    H.264 and HEVC are taken as they are; with ``gop_s``, or for another codec, the file is encoded anew.
    """
    if gop_s is not None or _codec(source) not in ANNEX_B:
        source = encoded(source, gop_s or 1.0)
    units = list(_units(source))
    index = folder / f"{name}.json"
    index.with_suffix(".bin").write_bytes(b"".join(unit.data for unit in units))
    index.write_text(json.dumps(_index(_codec(source), units)))
    return index


def encoded(source: Path, gop_s: float) -> Path:
    """Return an H.264 copy without B-frames and with a key frame every ``gop_s`` seconds; kept between runs."""
    stat = source.stat()
    key = hashlib.sha256(f"{source.resolve()} {stat.st_size} {stat.st_mtime_ns} {gop_s}".encode()).hexdigest()[:16]
    target = CACHE / f"{source.stem}-{key}.mp4"
    if not target.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _encode(source, Path(folder) / "new.mp4", gop_s).rename(target)
    return target


def _codec(source: Path) -> str:
    with av.open(str(source)) as container:
        return container.streams.video[0].codec_context.name


def _encode(source: Path, target: Path, gop_s: float) -> Path:
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        rate = Fraction(video.average_rate or 25).limit_denominator(1000)
        out = writer.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20", "bf": "0"})
        out.width, out.height = video.width // 2 * 2, video.height // 2 * 2
        out.pix_fmt, out.gop_size = "yuv420p", max(1, round(gop_s * rate))
        out.codec_context.time_base = 1 / rate
        for count, frame in enumerate(reader.decode(video)):
            picture = frame.reformat(out.width, out.height, "yuv420p")
            picture.pts, picture.time_base, picture.pict_type = count, 1 / rate, 0
            writer.mux(out.encode(picture))
        writer.mux(out.encode(None))
    return target


def _units(source: Path) -> Iterator[Unit]:
    with av.open(str(source)) as container:
        video = container.streams.video[0]
        bsf = BitStreamFilterContext(ANNEX_B[video.codec_context.name], video)
        origin = None
        for packet in container.demux(video):
            for piece in bsf.filter(packet if packet.size else None):
                pts, dts = _ns(piece, piece.pts), _ns(piece, piece.dts)
                if origin is None:
                    origin = min(pts, dts)
                yield Unit(bytes(piece), pts - origin, dts - origin, piece.is_keyframe)


def _ns(packet: av.Packet, ticks: int | None) -> int:
    if ticks is None or packet.time_base is None:
        raise ValueError("this file has packets without times; give gop_s to encode it anew")
    return int(ticks * packet.time_base * 1_000_000_000)


def _index(codec: str, units: list[Unit]) -> dict[str, object]:
    shown = sorted(unit.pts_ns for unit in units)
    typical = shown[len(shown) // 2] - shown[len(shown) // 2 - 1] if len(shown) > 1 else 40_000_000
    rows, offset = [], 0
    for unit in units:
        rows.append([offset, len(unit.data), unit.pts_ns, unit.dts_ns, unit.key])
        offset += len(unit.data)
    return {"codec": codec, "duration_ns": shown[-1] - shown[0] + typical, "units": rows}
