from __future__ import annotations

import asyncio
import re
import socket
import threading

import pytest

from streamvision.sinks.bounded import LoopThread, cut_off
from streamvision.sinks.confirmed import Confirmed
from streamvision.sinks.naming import all_of, checked, filled
from tests.sinks.brokers import BOUND_S, stored


def test_what_takes_too_long_is_cut_off():
    one, other = socket.socketpair()
    with one, other, cut_off(0.05, lambda: one.shutdown(socket.SHUT_RDWR)) as late:
        assert one.recv(1) == b""
        assert late.wait(BOUND_S)


def test_what_is_in_time_is_left_alone():
    calls: list[int] = []
    with cut_off(BOUND_S, lambda: calls.append(1)) as late:
        pass
    assert not calls
    assert not late.is_set()
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_loop_of_its_own_gives_results_errors_and_deadlines():
    loop = LoopThread("test-loop")
    cancelled = threading.Event()

    async def value() -> int:
        return 7

    async def broken() -> None:
        raise ValueError("no")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert loop.call(value(), BOUND_S) == 7
    with pytest.raises(ValueError, match="no"):
        loop.call(broken(), BOUND_S)
    with pytest.raises(TimeoutError):
        loop.call(endless(), 0.05)
    assert cancelled.wait(BOUND_S)
    loop.close()
    loop.close()
    assert "test-loop" not in {thread.name for thread in threading.enumerate()}


def test_what_is_left_in_a_loop_is_cancelled_at_its_end():
    loop = LoopThread("test-loop")
    cancelled = threading.Event()
    running: list[asyncio.Task[None]] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def start() -> None:
        running.append(asyncio.ensure_future(endless()))
        await asyncio.sleep(0)

    loop.call(start(), BOUND_S)
    loop.close()
    assert cancelled.is_set()


def test_confirmed_ids_are_remembered_up_to_a_limit():
    confirmed = Confirmed(limit=2)
    one, two, three = stored(1, 2, 3)
    for event in (one, two, three):
        confirmed.add(event.id)
    assert confirmed.missing([one, two, three]) == [one]


def test_a_name_is_made_of_an_event():
    (event,) = stored(1, stream="a.b")
    assert filled("x.{stream}.{type}", event, lambda text: text.replace(".", "_")) == "x.a_b.zone.start"
    assert filled("x", event) == "x"
    assert all_of("x.{stream}.y", "*") == "x.*.y"
    with pytest.raises(ValueError, match=r"there is no \{rule\} here"):
        checked("{rule}", re.compile(".*"), "a name")
