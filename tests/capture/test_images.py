"""Folders of pictures as a source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from streamvision.capture.images import ImageFolderSource
from streamvision.errors import EndOfStream, SourceNotFound
from streamvision.interfaces import SourcePicture
from tests.fakes import FakeClock


def write(path: Path, value: int, width: int = 20, height: int = 10) -> None:
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[..., 2] = value  # red
    assert cv2.imwrite(str(path), bgr)


def read_all(url: str, **options: object) -> list[SourcePicture]:
    source = ImageFolderSource(url, ImageFolderSource.Options(**options), FakeClock())  # type: ignore[arg-type]
    source.open()
    found = [picture for _ in source.paths for picture in source.read()]
    with pytest.raises(EndOfStream):
        source.read()
    source.close()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2, 10, 11, 100):
        write(tmp_path / f"shot{number}.png", number)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "deeper.png").mkdir()
    return tmp_path


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/*.png", "images:{}", "file:{}", "{}/shot*"])
def test_pictures_come_in_natural_order_at_the_chosen_rate(folder: Path, form: str) -> None:
    found = read_all(form.format(folder), rate=4)
    assert [int(picture.picture.rgb()[0, 0, 0]) for picture in found] == [1, 2, 10, 11, 100]
    assert [picture.pts_s for picture in found] == [0, 0.25, 0.5, 0.75, 1.0]
    assert found[0].picture.size_wh == (20, 10)


def test_a_single_picture_is_a_folder_of_one(folder: Path) -> None:
    assert len(read_all(str(folder / "shot10.png"))) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".png", ".bmp", ".webp", ".tif", ".tiff"])
def test_every_common_format_is_read(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", 200)
    (picture,) = read_all(str(tmp_path))
    assert abs(int(picture.picture.rgb()[5, 5, 0]) - 200) < 4


def test_a_picture_that_cannot_be_read_is_a_corrupt_frame(folder: Path) -> None:
    (folder / "shot3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "shot4.jpg").write_bytes(b"")
    assert [picture.corrupt for picture in read_all(str(folder))] == [False, False, True, True, False, False, False]


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 8), 0x8000, np.uint16))
    (picture,) = read_all(str(tmp_path))
    assert picture.picture.rgb().dtype == np.uint8
    assert abs(int(picture.picture.rgb()[0, 0, 0]) - 128) <= 1


def test_it_can_be_opened_again(folder: Path) -> None:
    source = ImageFolderSource(str(folder), ImageFolderSource.Options(), FakeClock())
    for _ in range(2):
        source.open()
        assert source.read()[0].pts_s == 0
        source.close()


@pytest.mark.parametrize("place", ["{}/missing", "{}/*.gif", "{}/empty"])
def test_a_place_without_pictures_is_not_found(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFound, match="no pictures"):
        read_all(place.format(tmp_path))


@pytest.mark.parametrize("options", [{"rate": 0}, {"speed": 1}, {"pace": "slow"}])
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageFolderSource.Options(**options)  # type: ignore[arg-type]
