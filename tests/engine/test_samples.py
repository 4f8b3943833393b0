from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamvision.engine import samples
from streamvision.errors import UsageError
from streamvision.types import Colour, Fit, InputSpec


def test_the_shipped_pictures_are_small_and_named_in_the_readme() -> None:
    found = samples.files()
    text = (found[0].parent / "README.md").read_text()
    assert len(found) == 8
    for path in found:
        assert path.stat().st_size <= 60_000
        assert path.stem in text, "every picture needs its source and licence"
        assert cv2.imread(str(path)).shape == (360, 640, 3)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (InputSpec((64, 48)), (48, 64, 3)),
        (InputSpec((64, 48), Fit.STRETCH, Colour.BGR), (48, 64, 3)),
        (InputSpec((64, 48), Fit.LETTERBOX_TOP_LEFT, Colour.GRAY), (48, 64)),
    ],
)
def test_pictures_are_what_a_network_asks_for(spec: InputSpec, shape: tuple[int, ...]) -> None:
    pictures = samples.pictures(spec, limit=3)
    assert [(each.shape, each.dtype) for each in pictures] == [(shape, np.uint8)] * 3


def test_colour_and_padding_come_out_right() -> None:
    red = np.zeros((4, 8, 3), np.uint8)
    red[..., 0] = 255
    pixels, letterbox = samples.fitted(red, InputSpec((8, 8), Fit.LETTERBOX, Colour.BGR, pad=7))
    assert letterbox.offset_xy == (0, 2)
    assert (pixels[:2] == 7).all()
    assert (pixels[2:6] == (0, 0, 255)).all()
    assert (pixels[6:] == 7).all()


def test_a_limit_spreads_over_the_folder(tmp_path: Path) -> None:
    for level in range(10):
        cv2.imwrite(str(tmp_path / f"{level}.png"), np.full((2, 2, 3), level, np.uint8))
    chosen = samples.pictures(InputSpec((2, 2)), tmp_path, limit=4)
    assert [int(each[0, 0, 0]) for each in chosen] == [0, 3, 6, 9]


def test_a_batch_of_pictures_maps_to_itself() -> None:
    spec = InputSpec((64, 48))
    batch = samples.batch_of(samples.pictures(spec, limit=2))
    boxes = np.array([[3, 4, 60, 40]], np.float32)
    for frame in batch.frames:
        assert np.array_equal(frame.letterbox.to_source(boxes), boxes)
        assert frame.picture.size_wh == (64, 48)
        assert frame.picture.rgb((32, 24)).shape == (24, 32, 3)
        assert frame.picture.jpeg()[:2] == b"\xff\xd8"
        crop = frame.picture.crop((8, 8, 40, 40), InputSpec((16, 16)))
        assert (crop.pixels.shape, crop.origin_xy) == ((16, 16, 3), (8, 8))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [(None, b"", "there are no pictures"), ("a.jpg", b"", "no picture|cannot be read"), ("a.jpg", b"x", "no picture")],
)
def test_a_folder_without_good_pictures_is_refused(
    tmp_path: Path, name: str | None, content: bytes, words: str
) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        samples.pictures(InputSpec((8, 8)), tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no pictures"):
        samples.files(tmp_path / "none")
