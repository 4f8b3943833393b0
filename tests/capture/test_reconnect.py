"""The state machine of a connection and its back-off."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.capture.reconnect import Backoff, Connection, StateChange
from streamvision.errors import AuthFailed, CaptureError, ConnectError, DecoderLost, EndOfStream, TimedOut
from streamvision.types import StreamState as S

ALLOWED = {
    S.STOPPED: {S.CONNECTING},
    S.CONNECTING: {S.LIVE, S.BACKING_OFF, S.AUTH_FAILED, S.STOPPED},
    S.LIVE: {S.STALLED, S.BACKING_OFF, S.AUTH_FAILED, S.STOPPED},
    S.STALLED: {S.CONNECTING, S.STOPPED},
    S.BACKING_OFF: {S.CONNECTING, S.STOPPED},
    S.AUTH_FAILED: {S.CONNECTING, S.STOPPED},
}


def connection(seed: int = 1) -> tuple[Connection, list[StateChange]]:
    changes: list[StateChange] = []
    return Connection("gate", changes.append, random.Random(seed)), changes


@pytest.mark.parametrize(
    ("error", "was_live", "states"),
    [
        (ConnectError("refused"), False, [S.CONNECTING, S.BACKING_OFF]),
        (TimedOut("no answer"), False, [S.CONNECTING, S.BACKING_OFF]),
        (TimedOut("silent"), True, [S.CONNECTING, S.LIVE, S.STALLED]),
        (EndOfStream("over"), True, [S.CONNECTING, S.LIVE, S.BACKING_OFF]),
        (AuthFailed("no"), False, [S.CONNECTING, S.AUTH_FAILED]),
        (AuthFailed("no"), True, [S.CONNECTING, S.LIVE, S.AUTH_FAILED]),
    ],
)
def test_every_cause_has_its_own_path(error: CaptureError, was_live: bool, states: list[S]) -> None:
    link, changes = connection()
    link.connecting(0.0)
    if was_live:
        link.live(1.0)
        link.live(2.0)
    link.failed(error, 3.0)
    assert [change.new for change in changes] == states
    assert (changes[-1].reason, changes[-1].cause, changes[-1].at_s) == (error.reason, str(error), 3.0)


def test_a_server_that_returns_within_two_minutes_is_met_within_two_seconds() -> None:
    for seed in range(50):
        link, _ = connection(seed)
        link.connecting(0.0)
        link.live(0.0)
        now_s, waits = 20.0, []
        while now_s < 140:
            waits.append(link.failed(ConnectError("refused"), now_s))
            now_s += waits[-1]
            link.connecting(now_s)
        assert waits[0] <= 0.5
        assert max(waits) <= 1.5


def test_waiting_grows_slowly_up_to_half_a_minute_and_never_ends() -> None:
    link, _ = connection(3)
    now_s, waits = 0.0, []
    for _ in range(5000):
        link.connecting(now_s)
        waits.append(link.failed(ConnectError("refused"), now_s))
        now_s += waits[-1]
    assert 25 < max(waits) <= 30
    assert min(waits) >= 0.05
    assert 13 < sum(waits[-2000:]) / 2000 < 17  # full jitter: half the cap on average


def test_a_healthy_while_forgives_and_a_short_one_does_not() -> None:
    link, _ = connection(4)
    for now_s in range(20):
        link.connecting(now_s)
        link.failed(ConnectError("refused"), float(now_s))
    link.connecting(20.0)
    link.live(20.0)
    short = [_failed_after(link, 20.0 + 2 * index, 1.0) for index in range(50)]
    link.connecting(1000.0)
    link.live(1000.0)
    healthy = [_failed_after(link, 1000.0 + 20 * index, 10.0) for index in range(50)]
    assert max(short) > 0.5
    assert max(healthy) <= 0.5


def _failed_after(link: Connection, start_s: float, live_s: float) -> float:
    link.connecting(start_s)
    link.live(start_s)
    return link.failed(EndOfStream("over"), start_s + live_s)


def test_refused_credentials_are_not_tried_often() -> None:
    link, _ = connection(5)
    waits = []
    for now_s in range(8):
        link.connecting(float(now_s))
        waits.append(link.failed(AuthFailed("no"), float(now_s)))
    assert waits[0] >= 5
    assert all(wait >= 100 for wait in waits[5:])
    assert max(waits) <= 300


def test_attempts_do_not_overflow() -> None:
    backoff, rng = Backoff(), random.Random(1)
    assert 0 < backoff.wait_s(10**6, 1e9, rng) <= 30
    assert 150 <= backoff.auth_wait_s(10**6, rng) <= 300


errors = st.sampled_from([ConnectError("a"), TimedOut("b"), AuthFailed("c"), EndOfStream("d")])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), errors), max_size=40))
def test_only_allowed_steps_each_told_once(script: list[tuple[bool, float, CaptureError]]) -> None:
    link, changes = connection()
    now_s = 0.0
    for pictures, for_s, error in script:
        link.connecting(now_s)
        if pictures:
            link.live(now_s)
            link.live(now_s)
        now_s += for_s
        now_s += link.failed(error, now_s)
    link.stopped("stopped", "on request", now_s)
    link.stopped("stopped", "on request", now_s)
    for change in changes:
        assert change.new in ALLOWED[change.old]
    assert all(a.new is b.old for a, b in itertools.pairwise(changes))
    assert link.state is S.STOPPED


def test_a_lost_decoder_is_replaced_at_once_and_then_with_patience() -> None:
    link, _ = connection()
    link.connecting(0.0)
    link.live(1.0)
    least_s = Backoff().least_s
    assert link.failed(DecoderLost("signal 11"), 20.0) == least_s
    again = [link.failed(DecoderLost("signal 11"), 21.0 + number) for number in range(20)]
    assert max(again) > 10 * least_s
