"""A camera whose clock was never set: its RTCP sender reports count from 1900. Its pictures are as good as any."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import av
import pytest

from streamvision import plugins
from streamvision.capture.isolated import IsolatedSource
from streamvision.clock import SystemClock
from streamvision.interfaces import Source

from .media import encode

RATE = 25
NTP_1970_S = 2_208_988_800
"""From NTP's year 1900 to 1970: RFC 5905, figure 4."""
REPORT_TICKS = 90_000
"""Reports speak of a second after the first picture, so those before it lie before what the camera's clock says."""
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
)


def nal_units(path: Path) -> list[list[bytes]]:
    """Return a film's pictures, each as the NAL units of one access unit."""
    with av.open(str(path), format="h264") as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return [[unit for unit in packet.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit] for packet in packets]


def interleaved(channel: int, packet: bytes) -> bytes:
    return struct.pack(">cBH", b"$", channel, len(packet)) + packet


def report(ntp_s: int) -> bytes:
    """Return a sender report of RFC 3550, 6.4.1."""
    return struct.pack(">BBHIIIIII", 0x80, 200, 6, 7, ntp_s, 0, REPORT_TICKS, 1, 1)


def send_film(line: socket.socket, pictures: list[list[bytes]], ntp_s: int) -> None:
    """Send the pictures as RTP of RFC 6184, in single NAL unit packets, for ever; a report before every picture."""
    sequence = number = 0
    while True:
        for units in pictures:
            line.sendall(interleaved(1, report(ntp_s)))
            for unit in units:
                mark = 0x80 if unit is units[-1] else 0
                head = struct.pack(">BBHII", 0x80, mark | 96, sequence & 0xFFFF, number * 90_000 // RATE, 7)
                line.sendall(interleaved(0, head + unit))
                sequence += 1
            number += 1
            time.sleep(1 / RATE)


def serve(line: socket.socket, pictures: list[list[bytes]], ntp_s: int) -> None:
    with line, suppress(OSError), line.makefile("rb") as requests:
        while first := requests.readline().split():
            fields = dict(each.decode().strip().split(": ", 1) for each in iter(requests.readline, b"\r\n"))
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {fields['CSeq']}\r\nSession: 1\r\n"
            body = SDP if first[0] == b"DESCRIBE" else ""
            if body:
                answer += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            if first[0] == b"SETUP":
                answer += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            line.sendall(f"{answer}\r\n{body}".encode())
            if first[0] == b"PLAY":
                send_film(line, pictures, ntp_s)


@contextmanager
def camera(path: Path, ntp_s: int) -> Iterator[str]:
    """Serve a film to everybody, by a camera whose clock stands at ``ntp_s`` seconds after 1900; yield its URL."""
    pictures = nal_units(path)
    with socket.create_server(("127.0.0.1", 0)) as door:

        def welcome() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(door.accept()[0], pictures, ntp_s), daemon=True).start()

        threading.Thread(target=welcome, daemon=True).start()
        yield f"rtsp://127.0.0.1:{door.getsockname()[1]}/gate"
        door.shutdown(socket.SHUT_RDWR)


def stated(source: Source, count: int) -> list[datetime | None]:
    found: list[datetime | None] = []
    source.open()
    try:
        while len(found) < count:
            found += [each.sender_utc for each in source.read()]
    finally:
        source.close()
    return found


@pytest.mark.parametrize("isolated", [False, True], ids=["thread", "process"])
@pytest.mark.parametrize(("ntp_s", "believable"), [(0, False), (NTP_1970_S + 1_780_000_000, True)])
def test_a_camera_whose_clock_is_unset_is_read_on(tmp_path: Path, ntp_s: int, believable: bool, isolated: bool) -> None:
    kind = plugins.load("source", "rtsp")
    options = kind.Options.model_validate({"transport": "tcp"})
    with camera(encode(tmp_path / "film.h264", [(64, 48)] * 10, rate=RATE), ntp_s) as url:
        source: Source = kind(url, options, SystemClock())
        if isolated:
            source = IsolatedSource("rtsp", url, options, SystemClock())
        moments = stated(source, 20)
    assert any(moments) is believable
    assert {moment.year for moment in moments if moment} == ({2026} if believable else set())
