from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamvision.draw import annotate, colour_of
from streamvision.draw.label_maps import class_colour, draw_label_maps, picture_part, put_legend
from streamvision.geometry import Letterbox
from streamvision.types import Segmentation
from tests.test_draw import analysis, changed, grey

NAMES = ("background", "road", "lane")


def found(labels: np.ndarray, letterbox: Letterbox | None = None, names: tuple[str, ...] = NAMES) -> Segmentation:
    height, width = labels.shape
    return Segmentation("scene", labels, letterbox or Letterbox.stretch((640, 360), (width, height)), names)


def half(kind: int = 1, wh: tuple[int, int] = (64, 36)) -> np.ndarray:
    """The right half of the picture is of a class."""
    labels = np.zeros((wh[1], wh[0]), np.uint8)
    labels[:, wh[0] // 2 :] = kind
    return labels


def test_a_class_is_tinted_where_it_is_and_the_background_is_not() -> None:
    picture = grey()
    entries = draw_label_maps(picture, [found(half())])
    assert entries == [("road", class_colour(0))]
    assert (picture[:, :300] == 90).all()
    assert changed(grey(), picture)[:, 340:].all()
    # In between: still the picture, on its way to the colour.
    middle = picture[180, 500].astype(int)
    assert (abs(middle - class_colour(0)) < abs(np.array((90, 90, 90)) - class_colour(0))).all()
    assert abs(middle - class_colour(0)).sum() > 60


def test_the_border_is_stronger_than_the_inside() -> None:
    picture = grey()
    draw_label_maps(picture, [found(half())])
    colour = np.array(class_colour(0))
    border, inside = (abs(picture[180, x].astype(int) - colour).sum() for x in (327, 500))
    assert border < inside / 2


def test_padding_is_not_drawn_and_the_picture_may_have_any_size() -> None:
    letterbox = Letterbox.fit((640, 360), (64, 64))
    labels = np.full((64, 64), 2, np.uint8)
    (x, y), (width, height) = letterbox.offset_xy, letterbox.inner_wh
    labels[y : y + height, x : x + width] = half(1, (width, height))
    assert picture_part(found(labels, letterbox)).shape == (36, 64)
    for size in ((640, 360), (320, 180), (1281, 721)):
        picture = grey(*size)
        assert [name for name, _ in draw_label_maps(picture, [found(labels, letterbox)])] == ["road"]
        assert not changed(grey(*size), picture)[:, : size[0] // 2 - 30].any()
        assert changed(grey(*size), picture)[:, size[0] // 2 + 30 :].all()


@pytest.mark.parametrize("size", [(640, 360), (960, 540), (641, 361)])
def test_a_part_is_drawn_as_it_would_be_in_the_whole(size: tuple[int, int]) -> None:
    labels = np.zeros((36, 64), np.uint8)
    labels[13:21, 20:50] = 1
    alone, crowded = grey(*size), grey(*size)
    draw_label_maps(alone, [found(labels)])
    labels[[0, 35], 0] = 1
    draw_label_maps(crowded, [found(labels)])
    away = np.s_[size[1] // 9 : -size[1] // 9, size[0] // 9 :]
    np.testing.assert_array_equal(alone[away], crowded[away])


@pytest.mark.parametrize("name", ["background", "__background__", "Void", "unlabelled", "unlabeled"])
def test_what_is_nothing_is_not_tinted(name: str) -> None:
    picture = grey()
    assert draw_label_maps(picture, [found(half(), names=(name, name))]) == []
    assert (picture == 90).all()


def test_classes_keep_their_colours_whatever_is_seen() -> None:
    both = half(2)
    both[:10] = 1
    assert (
        dict(draw_label_maps(grey(), [found(both)]))["lane"] == dict(draw_label_maps(grey(), [found(half(2))]))["lane"]
    )
    heads = [found(half(), names=("background", "drivable")), found(half(), names=("background", "line"))]
    entries = draw_label_maps(grey(), heads)
    assert entries == [("drivable", class_colour(0)), ("line", class_colour(1))]
    assert draw_label_maps(grey(), [found(half(0), names=("background", "drivable")), heads[1]]) == entries[1:]


def test_many_classes_have_colours_of_their_own() -> None:
    colours = [class_colour(number) for number in range(40)]
    assert colours[0] == colour_of(0)
    assert len(set(colours)) == 40


def test_specks_are_drawn_but_do_not_fill_the_legend() -> None:
    labels = np.zeros((360, 640), np.uint8)
    labels[100:103, 100:103] = 1
    picture = grey()
    assert draw_label_maps(picture, [found(labels)]) == []
    assert changed(grey(), picture)[101, 101]


def test_annotate_draws_maps_below_and_the_legend_in_the_corner() -> None:
    picture = grey()
    seen = replace(analysis(), segmentation=(found(half()),))
    drawn = annotate(picture, seen, header=False)
    assert changed(picture, drawn)[200:, :60].any(), "the legend"
    assert not changed(picture, drawn)[:200, :300].any()
    assert changed(picture, drawn)[:, 340:].all()
    assert (picture == 90).all()


def test_a_long_legend_stays_in_the_picture() -> None:
    picture = grey(320, 240)
    put_legend(picture, [(f"class {number}", class_colour(number)) for number in range(30)], 12)
    assert changed(grey(320, 240), picture).any()
