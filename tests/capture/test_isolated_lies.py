"""A child is not to be believed: whatever it says ends as a typed error of its stream, or as a picture that works."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision import plugins
from streamvision.capture.isolated import IsolatedSource, wire
from streamvision.capture.isolated.messages import FILES, Message, Nonsense, parsed
from streamvision.capture.picture import ArrayPicture, DecodedPicture
from streamvision.clock import MediaTimeline, SystemClock
from streamvision.errors import BrokenMedia, CaptureError, DecoderLost, UnsupportedMedia
from streamvision.interfaces import SourcePicture
from streamvision.types import InputSpec
from tests.safety.nonsense import VALUES, mutated_bytes
from tests.scale import scaled

CASES = scaled(200, 20_000)
SIZE_WH = (66, 34)
NOW_S = time.monotonic()


class Puppet(IsolatedSource):
    """An isolated source whose child is the test: it gets what ``script`` holds, and then its line is cut."""

    def __init__(self, script: Sequence[bytes], planes: bytes = b"") -> None:
        kind = plugins.load("source", "file")
        super().__init__("file", "film.mp4", kind.Options(), SystemClock())
        self._script, self._planes = script, planes

    def _start(self) -> socket.socket:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._files = [os.memfd_create("test") for _ in range(FILES)]
        self._born_s = NOW_S
        for fd in self._files:
            os.write(fd, self._planes)
        with theirs:
            for each in self._script:
                theirs.send(each)
        return self._line


def honest() -> tuple[list[dict[str, Any]], bytes]:
    """Return what a child says that reads a picture of each kind, and what is in its memory file."""
    frame = av.VideoFrame.from_ndarray(np.full((SIZE_WH[1], SIZE_WH[0], 3), 90, np.uint8)).reformat(format="yuv420p")
    rgb = np.full((SIZE_WH[1], SIZE_WH[0], 3), 7, np.uint8)
    utc = datetime.now(UTC)
    fd = os.memfd_create("test")
    try:
        described = wire.write_pictures(
            fd,
            [
                SourcePicture(DecodedPicture(frame), 0.0, NOW_S, utc),
                SourcePicture(ArrayPicture(rgb), 0.04, NOW_S, None, corrupt=True, lost_packets=2),
            ],
        )
        planes = os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
    opened = {"opened": {"started_at": utc.isoformat()}}
    told = {"error": {"kind": "EndOfStream", "what": "the file is done", "where": "film.mp4", "remedy": None}}
    return [{"ready": True}, opened, {"pictures": described, "file": 0}, told], planes


def datagrams(messages: Sequence[Any]) -> list[bytes]:
    return [json.dumps(each).encode() for each in messages]


def outcome(script: Sequence[bytes], planes: bytes) -> tuple[int, CaptureError]:
    """Do with a child what a stream does; return how many pictures were of use, and how it ended."""
    source, count = Puppet(script, planes), 0
    try:
        source.open()
        lines = [MediaTimeline(SystemClock(), live=live, file_start=source.started_at) for live in (True, False)]
        while True:
            for each in source.read():
                for line in lines:
                    line.stamp(each.pts_s, each.received_s, each.sender_utc)
                assert each.lost_packets >= 0
                use(each)
                count += 1
    except CaptureError as error:
        return count, error
    finally:
        source.close()


def use(each: SourcePicture) -> None:
    try:
        each.picture.prepare(InputSpec((32, 32)))
        each.picture.rgb()
    except BrokenMedia:  # as of a stream whose head says what swscale cannot do
        pass


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    tree = copy.deepcopy(tree)
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return tree


MESSAGES, PLANES = honest()
PLACES = list(places(MESSAGES))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(VALUES)
    | st.sampled_from([10**400, -(10**19), 1 << 31, 1 << 40, 1e19, -1e18, 5e-324, "nan", "yuv420p10le", "pal8", "gbrp"])
    | st.sampled_from(["cuda", "rgb", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00"])
)  # fmt: skip
ANYTHING = st.recursive(SCALARS, lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=8), each))


def test_an_honest_child_is_believed() -> None:
    count, error = outcome(datagrams(MESSAGES), PLANES)
    assert (count, error.reason, error.what) == (2, "end", "the file is done")


@given(place=st.sampled_from(PLACES), value=ANYTHING)
@settings(max_examples=CASES)
def test_any_value_in_any_field_is_a_picture_or_a_typed_error(place: tuple[Any, ...], value: Any) -> None:
    count, error = outcome(datagrams(changed(MESSAGES, place, value)), PLANES)
    assert count in (0, 2)
    assert error.reason in {"end", "error", "decoder_crashed"}


@pytest.mark.parametrize("place", PLACES, ids=lambda each: ".".join(map(str, each)))
def test_what_has_broken_parsers_breaks_none_here(place: tuple[Any, ...]) -> None:
    for value in VALUES:
        outcome(datagrams(changed(MESSAGES, place, value)), PLANES)


@given(junk=st.binary(max_size=400), at=st.integers(0, 3), seed=st.integers(0, 1 << 32))
@settings(max_examples=CASES)
def test_any_bytes_are_a_message_or_a_typed_error(junk: bytes, at: int, seed: int) -> None:
    script = datagrams(MESSAGES)
    for lie in (junk or b"\0", mutated_bytes(script[at], random.Random(seed)) or b"\0"):
        outcome([*script[:at], lie, *script[at + 1 :]], PLANES)


DEEP = b"[" * 100_000
DECODED, ARRAY = (2, "pictures", 0), (2, "pictures", 1)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((*ARRAY, "planes"), []), ((*ARRAY, "planes"), [[], [], []]), ((*ARRAY, "planes"), [[1 << 30, 8]]),
        ((*ARRAY, "size_wh"), [1 << 20, 1 << 20]), ((*ARRAY, "size_wh"), [16384, 16384]),
        ((*DECODED, "size_wh"), [16384, 4097]), ((*DECODED, "size_wh"), ["a", 2]), ((*DECODED, "size_wh"), [0, 2]),
        ((*DECODED, "format"), "nothing"), ((*DECODED, "format"), "cuda"), ((*DECODED, "planes"), []),
        ((*DECODED, "planes"), [[1 << 40, 8], [0, 8], [0, 8]]), ((*DECODED, "planes"), [[-5, 8], [0, 8], [0, 8]]),
        ((*DECODED, "line_sizes"), [1, 1, 1]), ((*DECODED, "line_sizes"), [-64, -64, -64]),
        ((*DECODED, "pts_s"), "now"), ((*DECODED, "pts_s"), float("inf")), ((*DECODED, "received_s"), None),
        ((*DECODED, "received_s"), float("-inf")), ((*DECODED, "received_s"), -1e18), ((*DECODED, "received_s"), 1e18),
        ((*DECODED, "received_s"), 0.0), ((*DECODED, "sender_utc"), "now"),
        ((*DECODED, "sender_utc"), "2026-01-01T00:00:00"), ((*DECODED, "rotation_deg"), "left"),
        ((*DECODED, "lost_packets"), -1), ((*DECODED, "lost_packets"), 1 << 70), ((*DECODED, "corrupt"), 1),
        ((*DECODED, "more"), 1), ((2, "file"), FILES), ((2, "file"), True), ((2, "file"), -1), ((2, "pictures"), {}),
        ((1, "opened", "started_at"), "at noon"), ((1, "opened", "started_at"), "9999-12-31T23:59:59Z"),
        ((1, "opened", "started_at"), "2026-01-01T00:00:00"), ((0, "ready"), False), ((1,), {}), ((2,), []),
    ],
)  # fmt: skip
def test_a_lie_ends_the_child_and_is_named(place: tuple[Any, ...], value: object) -> None:
    _, error = outcome(datagrams(changed(MESSAGES, place, value)), PLANES)
    assert isinstance(error, DecoderLost)
    assert "has crashed: it sent nonsense" in error.what


@pytest.mark.parametrize("at", range(4))
def test_a_message_that_is_nested_without_end_is_nonsense(at: int) -> None:
    script = datagrams(MESSAGES)
    _, error = outcome([*script[:at], DEEP], PLANES)
    assert "it sent nonsense" in error.what


@pytest.mark.parametrize("kind", ["MachineSlept", "CaptureHung", "StreamvisionError", "print", "CaptureError", ""])
def test_only_what_a_source_raises_comes_out_of_a_child(kind: str) -> None:
    _, error = outcome(datagrams(changed(MESSAGES, (3, "error", "kind"), kind)), PLANES)
    assert type(error) is CaptureError
    assert error.what == "the file is done"


def test_more_pictures_than_a_decoder_holds_back_are_refused_before_their_memory_is_taken() -> None:
    large = {**MESSAGES[2]["pictures"][0], "size_wh": [8192, 8192], "format": "gbrapf32le"}
    for pictures, why in (([large, large], "more pictures at once"), ([large] * 65, "at most 64 items")):
        _, error = outcome(datagrams([*MESSAGES[:2], {"pictures": pictures, "file": 0}]), PLANES)
        assert why in error.what


def test_an_honest_child_says_that_its_pictures_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BYTES", 2000)
    with pytest.raises(UnsupportedMedia, match="at once"):
        honest()


def test_lines_that_are_said_to_be_long_take_no_memory_for_all_of_them() -> None:
    fd = os.memfd_create("test")
    try:
        os.ftruncate(fd, 34 << 20)  # sparse: it costs a liar nothing
        lie = {"planes": [[0, 34 << 20]] * 3, "line_sizes": [1 << 20] * 3}
        message = Message.model_validate_json(json.dumps({"pictures": [{**MESSAGES[2]["pictures"][0], **lie}]}))
        (found,) = wire.read_pictures(fd, message.pictures or ())
        assert not found.picture.rgb()[:, :, 0].any()
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["yuv420p", "nv12", "yuv422p10le", "gray", "pal8", "rgb24", "bgra", "gbrp", "p010le"])
@pytest.mark.parametrize("wider", [0, 46])
def test_planes_with_lines_of_any_length_come_as_they_were(name: str, wider: int) -> None:
    """A decoder's lines are longer than ours, or as long."""
    frame = av.VideoFrame(98, 54, name)
    rng = np.random.default_rng(3)
    data, facts, planes = b"", [], []
    for plane in frame.planes:
        flat = np.frombuffer(memoryview(plane), np.uint8)
        rows = flat.reshape(-1, plane.line_size or flat.size)  # a palette has no lines
        rows[:] = rng.integers(0, 255, rows.shape, np.uint8)
        given = np.pad(rows, ((0, 0), (0, wider if plane.line_size else 0)))
        facts.append(given.shape[1] if plane.line_size else 0)
        planes.append([len(data), given.size])
        data += given.tobytes()
    fd = os.memfd_create("test")
    try:
        (described,) = wire.write_pictures(fd, [SourcePicture(DecodedPicture(frame), None, 0.0)])
        os.pwrite(fd, data, 0)
        message = parsed(json.dumps({"pictures": [{**described, "line_sizes": facts, "planes": planes}]}).encode())
        (found,) = wire.read_pictures(fd, message.pictures or ())
    finally:
        os.close(fd)
    for one, other in zip(frame.planes, found.picture.frame.planes, strict=True):
        assert bytes(one) == bytes(other)


def test_errors_with_names_that_are_no_text_come_over() -> None:
    from streamvision.capture.isolated.messages import described_error
    from streamvision.errors import SourceNotFound

    error = SourceNotFound("there is no such file", where="caf\udce9.mp4", remedy="x" * 9000)
    found = parsed(json.dumps({"error": described_error(error)}).encode()).error
    assert found is not None
    assert (type(found.error()), found.error().where) == (SourceNotFound, "caf\\udce9.mp4")


def test_a_message_says_where_it_is_wrong() -> None:
    with pytest.raises(Nonsense, match=r"^pictures\.0\.lost_packets: "):
        parsed(json.dumps(changed(MESSAGES, (*DECODED, "lost_packets"), -1)[2]).encode())
