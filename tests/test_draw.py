from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.draw import Trails, annotate, colour_of, ink_on, put_label, text_px
from streamvision.draw import text as text_module
from streamvision.types import Analysis, ClockSource, Detections, FrameInfo, Tracks

ZONES = {"yard": [(0.1, 0.4), (0.9, 0.4), (0.9, 0.95), (0.1, 0.95)]}
LINES = {"fence": [(0.2, 0.5), (0.8, 0.5)]}


def info(media_s: float = 0.0, size_wh: tuple[int, int] = (640, 360)) -> FrameInfo:
    when = datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)
    return FrameInfo("gate", 0, 0, media_s, 0.0, when, ClockSource.FILE, 0.0, size_wh)


def tracks(*rows: tuple[int, tuple[float, float, float, float], bool, bool]) -> Tracks:
    """Rows of (id, xyxy, visible, confirmed), all of class 0."""
    count = len(rows)
    return Tracks(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(count, 4),
        np.zeros((count, 2), np.float32),
        np.zeros(count, np.int32),
        np.full(count, 0.8, np.float32),
        np.array([row[3] for row in rows], np.bool_),
        np.array([row[2] for row in rows], np.bool_),
        np.zeros(count, np.float32),
        np.full(count, -1, np.int32),
    )


def analysis(found: Tracks | None = None, media_s: float = 0.0, size_wh: tuple[int, int] = (640, 360)) -> Analysis:
    return Analysis(info(media_s, size_wh), Detections.empty(), found or Tracks.empty(), ("person", "car"))


def grey(width: int = 640, height: int = 360) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


BOX = (200.0, 100.0, 300.0, 300.0)


def test_the_given_picture_stays_as_it_was_and_may_be_read_only() -> None:
    picture = grey()
    picture.flags.writeable = False
    drawn = annotate(picture, analysis(tracks((1, BOX, True, True))), zones=ZONES, lines=LINES)
    assert (picture == 90).all()
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8


def test_nothing_to_draw_changes_nothing_but_the_header() -> None:
    picture = grey()
    seen = changed(picture, annotate(picture, analysis()))
    assert seen.any()
    assert not seen[40:].any()
    assert not changed(picture, annotate(picture, analysis(), header=False)).any()


def test_a_visible_box_is_drawn_in_its_tracks_colour_on_its_edges_and_not_inside() -> None:
    picture = grey()
    drawn = annotate(picture, analysis(tracks((3, BOX, True, True))), header=False)
    assert (np.abs(drawn[200, 198:203].astype(int) - colour_of(3)).sum(axis=1) < 60).any()
    assert not changed(picture, drawn)[130:280, 220:280].any()


def test_boxes_follow_the_size_of_the_picture_at_hand() -> None:
    small = grey(320, 180)
    seen = changed(small, annotate(small, analysis(tracks((3, BOX, True, True))), header=False))
    rows, columns = np.nonzero(seen)
    assert abs(columns.min() - 100) <= 3
    assert abs(rows.max() - 150) <= 3


def test_a_lost_track_is_fainter_than_a_seen_one_and_has_no_name() -> None:
    picture = grey()
    seen = annotate(picture, analysis(tracks((3, BOX, True, True))), header=False)
    lost = annotate(picture, analysis(tracks((3, BOX, False, True))), header=False)
    tentative = annotate(picture, analysis(tracks((3, BOX, True, False))), header=False)
    strength = [np.abs(drawn.astype(int) - picture).sum() for drawn in (lost, tentative, seen)]
    assert strength == sorted(strength)
    assert not changed(picture, lost)[70:95].any()
    assert changed(picture, seen)[80:95].any()


def test_detections_are_drawn_where_nothing_is_tracked() -> None:
    found = Detections(np.array([BOX], np.float32), np.array([0.9], np.float32), np.array([1], np.int32))
    plain = Analysis(info(), found, Tracks.empty(), ("person", "car"))
    picture = grey()
    assert changed(picture, annotate(picture, plain, header=False))[200, 195:205].any()


def test_a_class_without_a_name_is_drawn_too() -> None:
    found = Detections(np.array([BOX], np.float32), np.array([0.9], np.float32), np.array([7], np.int32))
    picture = grey()
    assert changed(picture, annotate(picture, Analysis(info(), found, Tracks.empty(), ()), header=False)).any()


def test_a_zone_is_a_light_tint_inside_its_polygon_only() -> None:
    picture = grey()
    seen = changed(picture, annotate(picture, analysis(), zones=ZONES, header=False))
    assert seen[250, 100:560].all()
    assert not seen[:140].any()
    assert not seen[:, :60].any()
    tint = annotate(picture, analysis(), zones=ZONES, header=False)[250, 320].astype(int) - 90
    assert 0 < np.abs(tint).max() < 50


def test_a_lines_arrow_points_to_its_right_side() -> None:
    picture = grey()
    right = changed(picture, annotate(picture, analysis(), lines=LINES, header=False))
    left = changed(picture, annotate(picture, analysis(), lines={"fence": LINES["fence"][::-1]}, header=False))
    middle = slice(300, 340)
    below, above = right[184:, middle].sum(), right[:176, middle].sum()
    assert below > above
    assert left[184:, middle].sum() < left[:176, middle].sum()


@pytest.mark.parametrize("size_wh", [(16, 16), (320, 240), (1280, 720), (3840, 2160), (200, 900)])
def test_any_size_is_drawn(size_wh: tuple[int, int]) -> None:
    edge = (-40.0, -40.0, 9000.0, 9000.0)
    known = analysis(tracks((1, BOX, True, True), (2, edge, True, True), (3, edge, False, True)))
    trails = Trails()
    for media_s in (0.0, 0.5):
        trails.update(analysis(tracks((1, BOX, True, True)), media_s))
    drawn = annotate(grey(*size_wh), known, zones=ZONES, lines=LINES, trails=trails.snapshot())
    assert drawn.shape == (size_wh[1], size_wh[0], 3)


def test_text_grows_with_the_picture() -> None:
    sizes = [text_px(size) for size in ((320, 240), (1280, 720), (1920, 1080), (3840, 2160))]
    assert sizes == sorted(set(sizes))


def test_a_trail_holds_the_bottom_centres_of_the_last_seconds() -> None:
    trails = Trails(keep_s=1.0)
    for step in range(30):
        box = (step * 10.0, 100.0, step * 10.0 + 20, 200.0)
        trails.update(analysis(tracks((5, box, True, True)), step * 0.1))
    (trail,) = trails.snapshot()
    assert trail.track_id == 5
    assert len(trail.points) == len(trail.age_s) in (10, 11)
    assert trail.points[-1].tolist() == [300.0, 200.0]
    assert trail.age_s[-1] == 0
    assert trail.age_s[0] == pytest.approx(1.0, abs=0.11)


@pytest.mark.parametrize(("visible", "confirmed"), [(False, True), (True, False)])
def test_a_track_that_is_lost_or_tentative_leaves_no_trail(visible: bool, confirmed: bool) -> None:
    trails = Trails()
    for media_s in (0.0, 0.1, 0.2):
        trails.update(analysis(tracks((5, BOX, visible, confirmed)), media_s))
    assert not trails.snapshot()


def test_trails_of_tracks_that_are_gone_are_forgotten() -> None:
    trails = Trails(keep_s=1.0)
    for media_s in (0.0, 0.1):
        trails.update(analysis(tracks((5, BOX, True, True)), media_s))
    trails.update(analysis(media_s=5.0))
    assert not trails.snapshot()


def test_trails_are_drawn() -> None:
    trails = Trails()
    for step in range(10):
        trails.update(analysis(tracks((5, (step * 30.0, 0.0, step * 30.0 + 10, 300.0), True, True)), step * 0.1))
    picture = grey()
    seen = changed(picture, annotate(picture, analysis(), trails=trails.snapshot(), header=False))
    assert seen[298:303, 20:260].any(axis=0).all()


@given(st.integers(-80, 120), st.integers(-40, 80), st.text(max_size=12))
def test_a_label_may_lie_anywhere(x: int, y: int, words: str) -> None:
    canvas = grey(100, 60)
    put_label(canvas, words, (x, y), 14, ink=(255, 255, 255), fill=(0, 0, 0))
    assert canvas.shape == (60, 100, 3)


@pytest.mark.parametrize("number", range(8))
def test_text_on_every_colour_of_the_palette_is_readable(number: int) -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(colour_of(number)), luminance(ink_on(colour_of(number)))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.1 AA


def test_stroked_letters_serve_where_opencv_has_no_typeface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "_typeface", lambda: None)
    text_module.coverage.cache_clear()
    words = text_module.coverage("person 17 é", 18)
    text_module.coverage.cache_clear()
    assert words.shape[0] == 27
    assert 60 < words.shape[1] < 260
    assert 0.03 < words.mean() / 255 < 0.5
