"""Tables: how much of the zone is covered at which second, and what is told of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from streamvision import plugins
from streamvision.errors import UsageError
from streamvision.geometry import Letterbox
from streamvision.interfaces import Scene
from streamvision.rules.area import AreaRule
from streamvision.rules.base import RuleContext
from streamvision.types import Event, Phase, Segmentation, Tracks
from tests.rules.scenes import START, info, play, times

NAMES = ("background", "snow", "water")
SOURCE = (200, 100)
MAP = (100, 50)
ZONES = {"left": ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), "right": ((0.5, 0.0), (1, 0), (1, 1), (0.5, 1.0))}


def area(zone: str = "left", **options: Any) -> AreaRule:
    given = {"zone": zone, "classes": ("snow",), "min_share": 0.2, "min_duration": 2.0, "leave_after": 1.0} | options
    numbers = itertools.count(1)
    context = RuleContext("gate", "rule", ZONES, {}, lambda: f"id{next(numbers)}")
    return AreaRule(AreaRule.Options.model_validate(given), context)


def ground(share: float, kind: int = 1, *, right: float = 0.0, wh: tuple[int, int] = MAP) -> np.ndarray:
    """A label map whose halves are covered by so much of a class, from the bottom up."""
    labels = np.zeros((wh[1], wh[0]), np.uint8)
    labels[wh[1] - round(share * wh[1]) :, : wh[0] // 2] = kind
    labels[wh[1] - round(right * wh[1]) :, wh[0] // 2 :] = kind
    return labels


def look(media_s: float, labels: np.ndarray, source: tuple[int, int] = SOURCE, name: str = "scene") -> Scene:
    found = Segmentation(name, labels, Letterbox.stretch(source, (labels.shape[1], labels.shape[0])), NAMES)
    return Scene(info(media_s, source), Tracks.empty(), (), segmentation=(found,))


def told(events: Iterable[Event]) -> list[tuple[str, float]]:
    return [(str(event.phase), round(event.media_s, 2)) for event in events]


def film(rule: AreaRule, rows: Sequence[tuple[float, float]], fps: float = 10.0, end_s: float = 0.0) -> list[Event]:
    """Play shares (from that second on, until the next row) at a rate; return every event."""
    starts = [start for start, _ in rows]
    end_s = end_s or starts[-1] + 5
    at = [(t, rows[int(np.searchsorted(starts, t + 1e-9)) - 1][1]) for t in times(end_s, fps)]
    return play(rule, (look(t, ground(share)) for t, share in at))


def test_the_plugin_is_found_by_its_name():
    assert plugins.load("rule", "area") is AreaRule
    assert AreaRule.reads_label_maps


@pytest.mark.parametrize("fps", [1.0, 5.0, 25.0])
@pytest.mark.parametrize(
    ("what", "rows", "expected"),
    [
        ("never enough", [(0, 0.0), (2, 0.18), (8, 0.0)], []),
        ("too short", [(0, 0.0), (5, 0.5), (6, 0.0)], []),
        ("comes and goes", [(0, 0.0), (5, 0.5), (12, 0.0)], [("start", 7), ("end", 12)]),
        ("is there from the first picture on", [(0, 0.5), (6, 0.0)], [("start", 2), ("end", 6)]),
        ("a short clearing continues it", [(0, 0.5), (9, 0.0), (9.9, 0.5), (20, 0.0)], [("start", 2), ("end", 20)]),
        ("between the thresholds it goes on", [(0, 0.5), (6, 0.18), (20, 0.0)], [("start", 2), ("end", 20)]),
        ("at the lower threshold it is over", [(0, 0.5), (6, 0.16)], [("start", 2), ("end", 6)]),
        ("between the thresholds it does not start", [(0, 0.18), (20, 0.0)], []),
        (
            "it comes again", [(0, 0.5), (5, 0.0), (10, 0.5), (15, 0.0)],
            [("start", 2), ("end", 5), ("start", 12), ("end", 15)],
        ),
    ],
)  # fmt: skip
def test_a_table(what: str, rows: list[tuple[float, float]], expected: list[tuple[str, float]], fps: float):
    found = told(film(area(), rows, fps))
    assert [phase for phase, _ in found] == [phase for phase, _ in expected]
    # A change lies somewhere between two pictures.
    assert [at for _, at in found] == pytest.approx([at for _, at in expected], abs=1 / fps)


def test_flicker_around_the_threshold_is_one_happening_at_most():
    flicker = [(t, 0.18 if index % 3 == 0 else 0.3) for index, t in enumerate(times(30, 10))]
    assert len(film(area(min_duration=0.0), flicker, end_s=30)) == 1
    # A break starts the count anew, so what flickers never lasts long enough.
    assert film(area(min_duration=2.0), flicker, end_s=30) == []


def test_the_moment_is_interpolated_between_pictures():
    rule = area(min_duration=0.0, leave_after=0.0, max_share_end=0.1)
    shares = [(0.0, 0.0), (1.0, 0.4), (2.0, 0.4), (3.0, 0.0)]
    events = play(rule, (look(t, ground(share)) for t, share in shares))
    assert told(events) == [("start", 0.5), ("end", 2.75)]
    assert [event.evidence["duration_s"] for event in events] == [0.5, 2.25]
    assert (events[1].time - START).total_seconds() == pytest.approx(2.75)


def test_what_an_event_says():
    start, end = film(area(), [(0, 0.5), (4, 0.0)])
    assert (start.kind, start.phase, start.stream, start.rule, start.track) == (
        "area",
        Phase.START,
        "gate",
        "rule",
        None,
    )
    assert start.happening == end.happening
    assert start.id != end.id
    assert start.data == {
        "zone": "left", "map": "scene", "classes": ["snow"],
        "polygons": [[[100.0, 100.0], [0.0, 100.0], [0.0, 50.0], [100.0, 50.0]]],
    }  # fmt: skip
    assert start.evidence == {
        "share": 0.5, "min_share": 0.2, "pixels": 1250, "zone_pixels": 2500, "duration_s": 2.0, "min_duration_s": 2.0,
    }  # fmt: skip
    assert end.data == {"zone": "left", "map": "scene", "classes": ["snow"], "reason": "cleared"}
    assert (end.evidence["share"], end.evidence["largest_share"], end.evidence["max_share_end"]) == (0.0, 0.5, 0.16)


def test_updates_come_every_so_often_while_it_lasts():
    events = film(area(update_every=3.0, leave_after=4.0), [(0, 0.5), (9, 0.0), (12, 0.5), (16, 0.0)], end_s=25)
    assert told(events)[:3] == [("start", 2.0), ("update", 5.0), ("update", 8.0)]
    assert told(events)[3:] == [("update", 12.0), ("update", 15.0), ("end", pytest.approx(16.0, abs=0.1))]
    assert len({event.happening for event in events}) == 1
    assert told(film(area(update_every=0.0), [(0, 0.5)], end_s=100, fps=1)) == [("start", 2.0)]


def test_over_a_gap_nothing_lasts_but_what_has_started_goes_on():
    waiting = [(0.0, 0.5), (1.0, 0.5), (9.0, 0.5), (10.0, 0.5), (11.0, 0.5)]
    assert told(play(area(), (look(t, ground(s)) for t, s in waiting))) == [("start", 11.0)]
    assert told(play(area(max_gap=10.0), (look(t, ground(s)) for t, s in waiting))) == [("start", 2.0)]
    started = [(0.0, 0.5), (2.0, 0.5), (60.0, 0.5), (120.0, 0.0), (121.0, 0.0)]
    assert told(play(area(update_every=0), (look(t, ground(s)) for t, s in started))) == [
        ("start", 2.0),
        ("end", 120.0),
    ]


def test_pictures_without_the_map_are_a_gap():
    empty = Scene(info(1.0, SOURCE), Tracks.empty(), ())
    other = look(1.5, ground(0.5), name="other")
    rule = area(map="scene")
    assert rule.update(empty) == rule.update(other) == []
    assert told(play(rule, [look(t, ground(0.5)) for t in (2.0, 3.0, 4.0)])) == [("start", 4.0)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 0.5)], [("end", 4.9)]),
        ([(0, 0.5), (4.5, 0.0)], [("end", 4.45)]),
        ([(0, 0.0)], []),
    ],
    ids=["while it lasts", "about to end", "nothing open"],
)
def test_closing_ends_what_is_open(rows: list[tuple[float, float]], expected: list[tuple[str, float]]):
    rule = area()
    film(rule, rows, end_s=5.0)
    events = rule.close(info(5.0, SOURCE), "shutdown")
    assert told(events) == [(phase, pytest.approx(at, abs=0.05)) for phase, at in expected]
    assert [event.data["reason"] for event in events] == ["shutdown"] * len(expected)
    assert rule.close(info(6.0, SOURCE), "shutdown") == []


def test_after_a_close_it_begins_anew():
    rule = area()
    film(rule, [(0, 0.5)], end_s=1.5)
    rule.close(info(1.5, SOURCE), "restart")
    assert told(film(rule, [(0, 0.5)], end_s=3)) == [("start", 2.0)]


def test_a_camera_that_changes_its_resolution_goes_on():
    sizes = [((200, 100), (100, 50)), ((400, 200), (64, 64)), ((1920, 960), (640, 360))]
    scenes = [look(float(t), ground(0.5, wh=wh), source) for t, (source, wh) in enumerate(sizes * 2)]
    events = play(area(min_duration=0.0, update_every=1.0), scenes)
    assert [event.phase for event in events] == [Phase.START] + [Phase.UPDATE] * 5
    assert {event.evidence["share"] for event in events} == {0.5}
    assert [event.evidence["zone_pixels"] for event in events[:3]] == [2500, 2048, 115200]
    for event, scene in zip(events, scenes, strict=True):
        (polygon,) = event.data["polygons"]
        np.testing.assert_allclose(np.max(polygon, 0), np.array(scene.info.size_wh) * (0.5, 1), rtol=0.02)


def test_two_zones_do_not_disturb_each_other():
    rules = {name: area(name) for name in ZONES}
    found: dict[str, list[Event]] = {name: [] for name in ZONES}
    for t in times(12, 10):
        scene = look(t, ground(0.5 if t < 5 else 0.0, right=0.0 if t < 3 else 0.9))
        for name, rule in rules.items():
            found[name] += rule.update(scene)
    assert told(found["left"]) == [("start", 2.0), ("end", pytest.approx(5.0, abs=0.1))]
    assert told(found["right"]) == [("start", pytest.approx(5.0, abs=0.1))]


def test_several_classes_count_together_and_the_map_is_found_by_them():
    labels = ground(0.1, 1)
    labels[:5, :50] = 2
    rule = area(classes=("snow", "water"), min_duration=0.0)
    lane = Segmentation("lane", labels, Letterbox.stretch(SOURCE, MAP), ("background", "snow"))
    seen = look(0.0, labels)
    (event,) = rule.update(Scene(seen.info, seen.tracks, (), segmentation=(lane, *seen.segmentation)))
    assert (event.data["map"], event.evidence["share"]) == ("scene", 0.2)
    assert len(event.data["polygons"]) == 2


@pytest.mark.parametrize(
    "letterbox", [Letterbox.fit((200, 100), (96, 96)), Letterbox.fit((100, 200), (128, 64), centre=False)]
)
def test_padding_never_counts(letterbox: Letterbox):
    width, height = letterbox.model_wh
    labels = np.ones((height, width), np.uint8)
    (x, y), (w, h) = letterbox.offset_xy, letterbox.inner_wh
    labels[y : y + h, x : x + w] = 0
    labels[y : y + h // 2, x : x + w] = 1
    found = Segmentation("scene", labels, letterbox, NAMES)
    scene = Scene(info(0.0, letterbox.source_wh), Tracks.empty(), (), segmentation=(found,))
    context = RuleContext("gate", "rule", {"all": ((0, 0), (1, 0), (1, 1), (0, 1))}, {}, lambda: "id")
    rule = AreaRule(AreaRule.Options(zone="all", classes=("snow",), min_duration=0.0), context)
    (event,) = rule.update(scene)
    assert event.evidence["zone_pixels"] == w * h
    assert event.evidence["pixels"] == w * (h // 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_count_is_that_of_pixel_centres_in_any_polygon(seed: int):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    corners = 0.5 + rng.uniform(0.1, 0.5, 9)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    labels = rng.integers(0, 3, (53, 97)).astype(np.uint8)
    letterbox = Letterbox.stretch((970, 530), (97, 53))
    context = RuleContext("gate", "rule", {"star": corners.tolist()}, {}, lambda: "id")
    rule = AreaRule(AreaRule.Options(zone="star", classes=("water",), min_share=0.01, min_duration=0.0), context)
    found = Segmentation("scene", labels, letterbox, NAMES)
    (event,) = rule.update(Scene(info(0.0, (970, 530)), Tracks.empty(), (), segmentation=(found,)))
    outline = (corners * (97, 53)).astype(np.float32)
    inside = np.array(
        [[cv2.pointPolygonTest(outline, (x + 0.5, y + 0.5), False) > 0 for x in range(97)] for y in range(53)]
    )
    assert event.evidence["zone_pixels"] == inside.sum()
    assert event.evidence["pixels"] == (inside & (labels == 2)).sum()


def test_a_zone_smaller_than_a_pixel_is_the_pixel_in_its_middle():
    tiny = ((0.501, 0.501), (0.503, 0.501), (0.503, 0.503))
    context = RuleContext("gate", "rule", {"dot": tiny}, {}, lambda: "id")
    rule = AreaRule(AreaRule.Options(zone="dot", classes=("snow",), min_duration=0.0), context)
    labels = np.zeros((50, 100), np.uint8)
    labels[25, 50] = 1
    (event,) = rule.update(look(0.0, labels))
    assert (event.evidence["zone_pixels"], event.evidence["share"]) == (1, 1.0)


def test_polygons_are_bounded_and_lie_in_the_picture():
    labels = np.random.default_rng(1).integers(0, 2, (360, 640)).astype(np.uint8)
    rule = area(min_duration=0.0)
    (event,) = rule.update(look(0.0, labels, (1920, 1080)))
    found = event.data["polygons"]
    assert len(found) <= 8
    assert all(3 <= len(polygon) <= 64 for polygon in found)
    points = np.concatenate(found)
    assert (points >= 0).all()
    assert (points <= (1920, 1080)).all()


def test_an_unknown_zone_is_an_error():
    with pytest.raises(UsageError, match=r"there is no zone 'track'.*left, right"):
        area("track")


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": ()}, {"min_share": 0}, {"min_share": 1.1}, {"min_share": 0.2, "max_share_end": 0.3},
        {"max_share_end": -0.1}, {"max_gap": 0}, {"anchor": "centre"},
    ],
)  # fmt: skip
def test_options_are_checked(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        AreaRule.Options.model_validate({"zone": "yard", "classes": ["snow"]} | wrong)
