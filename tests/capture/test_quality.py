from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from streamvision.capture.losses import missed
from streamvision.capture.quality import BLIND_S, LATE_S, PATIENCE_S, WINDOW_S, Quality
from streamvision.errors import BrokenMedia, FellBehind, PacketsLost
from streamvision.interfaces import SourcePicture
from tests.fakes import blank_picture

START = datetime(2026, 1, 2, tzinfo=UTC)
FPS = 10


def run(
    quality: Quality,
    seconds: float,
    late: Callable[[float], float] = lambda at_s: 0.0,
    *,
    corrupt: bool = False,
    lost: int = 0,
    begin_s: float = 0.0,
    clock_error: Callable[[float], float] = lambda at_s: 0.0,
) -> None:
    """Judge the pictures of some seconds, each taken at its time and received ``late`` after it."""
    for number in range(round(seconds * FPS)):
        taken_s = begin_s + number / FPS
        stated = START + timedelta(seconds=taken_s + clock_error(taken_s))
        quality.judge(SourcePicture(blank_picture(), taken_s, taken_s + late(taken_s), stated, corrupt, lost))


def test_a_delay_that_grows_is_told_before_it_is_long():
    with pytest.raises(FellBehind) as found:
        run(Quality("gate", 0.0), 60, lambda at_s: at_s / 2)
    assert LATE_S < float(found.value.what.split()[3]) < LATE_S + PATIENCE_S
    assert found.value.where == "gate"


def test_a_long_way_is_not_a_growing_one():
    quality = Quality("gate", 0.0)
    run(quality, 600, lambda at_s: 0.3 + 0.1 * (round(at_s * FPS) % 3))
    assert quality.told == ""


def test_what_a_broken_link_held_back_may_come_late_at_once():
    run(Quality("gate", 0.0), 60, lambda at_s: max(0.0, 24.0 - at_s) if at_s > 20 else 0.0)


def test_a_sender_whose_clock_is_set_or_drifts_has_not_fallen_behind():
    run(Quality("gate", 0.0), 120, clock_error=lambda at_s: -3600.0 if at_s > 30 else 0.0)
    run(Quality("gate", 0.0), 120, clock_error=lambda at_s: 3600.0 if at_s > 30 else 0.0)
    run(Quality("gate", 0.0), 20_000, clock_error=lambda at_s: -at_s * 5e-4)


def test_damage_is_told_while_it_lasts():
    quality = Quality("gate", 0.0)
    run(quality, 1, corrupt=True, lost=2)
    run(quality, WINDOW_S - 0.9, begin_s=1)
    assert (
        quality.told
        == f"10 of 50 pictures in {WINDOW_S:g} s were damaged and left out; 20 packets were lost on the way"
    )
    run(quality, WINDOW_S, begin_s=WINDOW_S + 0.1)
    assert quality.told == ""


@pytest.mark.parametrize(("lost", "kind"), [(1, PacketsLost), (0, BrokenMedia)])
def test_without_a_whole_picture_for_long_the_connection_is_worthless(lost: int, kind: type[Exception]):
    quality = Quality("gate", 0.0)
    run(quality, BLIND_S, corrupt=True, lost=lost)
    run(quality, 0.1, begin_s=BLIND_S - 0.1)
    run(quality, BLIND_S - 0.1, corrupt=True, lost=lost, begin_s=BLIND_S)
    with pytest.raises(kind):
        run(quality, 1, corrupt=True, lost=lost, begin_s=2 * BLIND_S - 0.1)


def test_gaps_are_read_from_what_ffmpeg_says():
    lines = [
        (24, "rtsp", "RTP: missed 3 packets\n"),
        (24, "rtsp", "max delay reached\n"),
        (24, "rtsp", "RTP: missed 1 packets\n"),
    ]
    assert missed(lines) == 4
    assert missed([]) == 0
