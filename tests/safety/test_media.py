"""Media that refer to other files, to the network, to ports, or that claim to be enormous."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import av
import cv2
import numpy as np
import pytest

from streamvision.capture.allowed import MAX_PIXELS
from streamvision.capture.file import FileSource
from streamvision.capture.http import HttpSource
from streamvision.capture.images import ImageFolderSource, read_picture
from streamvision.capture.labels import read_labels
from streamvision.clock import SystemClock
from streamvision.errors import BrokenMedia, CaptureError, UnsupportedMedia
from streamvision.header import tiff_wh
from tests.capture.media import encode, read_all

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-VERSION:3\n#EXTINF:2.0,\n{0}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{0}'\n"
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n# {0}\n"
)
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S">'
    '<Period><AdaptationSet mimeType="video/mp2t"><Representation id="1" bandwidth="9"><BaseURL>{0}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>"
)
LISTS = {"list.m3u8": PLAYLIST, "list.ffconcat": CONCAT, "list.sdp": SDP, "list.mpd": DASH}
DISGUISES = ["list.m3u8", "list.m3u", "list.ffconcat", "video.mp4", "video.ts", "list.sdp", "list.mpd", "list.txt"]


class Web(ThreadingHTTPServer):
    """Serves texts and bytes by path, and remembers who asked for what."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, *_: object) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path.lstrip("/"))
        if body is not None and body.startswith(b"-> "):
            self.send_response(302)
            self.send_header("Location", body[3:].decode())
            self.end_headers()
        elif body is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web() -> Iterator[Web]:
    server = Web()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def file_source(path: Path) -> FileSource:
    return FileSource(str(path), FileSource.Options(), SystemClock())


def http_source(url: str) -> HttpSource:
    return HttpSource(url, HttpSource.Options(open_timeout=20, read_timeout=20), SystemClock())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video in another folder, that nothing but its own name may open."""
    (tmp_path / "private").mkdir()
    return encode(tmp_path / "private" / "film.ts", [(64, 48)] * 10)


def references(film: Path, web_url: str) -> list[str]:
    """What a list may try to make FFmpeg open."""
    return [
        str(film), f"file:{film}", f"file://{film}", f"../private/{film.name}", web_url, f"concat:{film}|{film}",
        f"subfile,,start,0,end,1000,,:{film}", f"crypto:{film}", f"async:{film}", f"cache:{film}",
        f"data:text/plain;base64,AAAA{film.name}", "tcp://127.0.0.1:9", "rtp://127.0.0.1:5004", f"fd:{film}", "pipe:0",
    ]  # fmt: skip


def test_the_film_itself_opens(film: Path):
    assert len(read_all(file_source(film))) == 10


@pytest.mark.parametrize("name", DISGUISES)
@pytest.mark.parametrize("kind", LISTS)
def test_a_local_list_opens_nothing(tmp_path: Path, film: Path, kind: str, name: str):
    with web() as server:
        server.files["film.ts"] = film.read_bytes()
        for reference in references(film, server.url("film.ts")):
            listing = tmp_path / name
            listing.write_text(LISTS[kind].format(reference))
            with pytest.raises(CaptureError):
                read_all(file_source(listing))
        assert server.asked == []


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_from_the_web_opens_no_file_of_this_machine(film: Path, kind: str):
    with web() as server:
        for reference in references(film, "file:///etc/hostname"):
            server.files["list"] = LISTS[kind].format(reference).encode()
            with pytest.raises(CaptureError):
                read_all(http_source(server.url("list")))


def test_hls_from_the_web_is_watched(film: Path):
    with web() as server:
        server.files = {"film.ts": film.read_bytes(), "list.m3u8": PLAYLIST.format("film.ts").encode()}
        assert len(read_all(http_source(server.url("list.m3u8")))) == 10
        server.files["list.m3u8"] = PLAYLIST.format(server.url("film.ts")).encode()
        assert len(read_all(http_source(server.url("list.m3u8")))) == 10


@pytest.mark.parametrize("target", ["file://{0}", "file:{0}", "concat:{0}", "subfile,,start,0,end,0,,:{0}"])
def test_a_redirect_never_leads_to_a_file(film: Path, target: str):
    with web() as server:
        server.files["moved"] = b"-> " + target.format(film).encode()
        with pytest.raises(CaptureError):
            read_all(http_source(server.url("moved")))


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "subfile,,start,0,end,0,,:a.mp4", "crypto:a.mp4", "pipe:0"])
def test_a_file_that_is_called_like_a_protocol_is_a_file(tmp_path: Path, name: str):
    odd = encode(tmp_path / "film.mp4", [(64, 48)] * 10).rename(tmp_path / name)
    assert len(read_all(file_source(odd))) == 10


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(path: Path, side: int) -> Path:
    """74 bytes that claim side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("side", [8193, 16000, 60000])
def test_an_enormous_picture_is_refused_before_it_is_decoded(tmp_path: Path, side: int):
    bomb = png_bomb(tmp_path / "bomb.png", side)
    assert read_picture(bomb) is None
    with pytest.raises(UnsupportedMedia, match="one above 67 million pixels"):
        read_all(file_source(bomb))


def test_a_folder_with_a_bomb_in_it_goes_on(tmp_path: Path):
    png_bomb(tmp_path / "1.png", 60000)
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((48, 64, 3), np.uint8))
    pictures = read_all(ImageFolderSource(str(tmp_path), ImageFolderSource.Options(), SystemClock()))
    assert [picture.corrupt for picture in pictures] == [True, False]


def test_a_video_that_grows_is_refused_where_it_does(tmp_path: Path):
    path = tmp_path / "grows.mjpeg"
    small, large = (cv2.imencode(".jpg", np.zeros((side, side, 3), np.uint8))[1].tobytes() for side in (64, 72))
    # The height and width of the second picture's header become 16384: more than there may be.
    at = large.index(b"\xff\xc0") + 5
    path.write_bytes(small * 3 + large[:at] + struct.pack(">HH", 16384, 16384) + large[at + 4 :] + small * 3)
    pictures = read_all(file_source(path))
    assert [picture.picture.size_wh for picture in pictures] == [(64, 64)] * 6


@pytest.mark.parametrize("size_wh", [(53, 37), (300, 2)])
def test_what_a_tiff_claims_is_read_without_decoding(tmp_path: Path, size_wh: tuple[int, int]):
    path = tmp_path / "picture.tif"
    cv2.imwrite(str(path), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    assert tiff_wh(path) == size_wh
    body = bytearray(path.read_bytes())
    entry = next(at for at in range(len(body) - 12) if body[at : at + 2] == struct.pack("<H", 256))
    body[entry : entry + 12] = struct.pack("<HHII", 256, 4, 1, MAX_PIXELS)
    path.write_bytes(bytes(body))
    assert read_picture(path) is None
    path.write_bytes(bytes(body[:20]))
    assert tiff_wh(path) is None


def test_a_label_picture_is_no_list(tmp_path: Path, film: Path):
    path = tmp_path / "labels.png"
    path.write_text(CONCAT.format(film))
    with pytest.raises(BrokenMedia, match="cannot be read as a picture"):
        read_labels(path)


def test_every_format_on_the_lists_is_known_to_ffmpeg():
    from streamvision.capture import allowed

    for options in (allowed.LOCAL_FILE, allowed.WEB, allowed.LABEL_FILE):
        for name in options["format_whitelist"].split(","):
            assert av.ContainerFormat(name, "r").is_input, name


def test_one_picture_is_read_as_itself_and_never_as_a_pattern(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "a1.jpg"), np.full((20, 30, 3), 200, np.uint8))
    cv2.imwrite(str(tmp_path / "a%d.jpg"), np.full((40, 60, 3), 50, np.uint8))
    for name, size_wh in (("a1.jpg", (30, 20)), ("a%d.jpg", (60, 40))):
        source = FileSource(str(tmp_path / name), FileSource.Options(), SystemClock())
        source.open()
        assert [each.picture.size_wh for each in source.read()] == [size_wh]
        source.close()
