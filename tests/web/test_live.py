from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from streamvision.clock import SystemClock
from streamvision.web import LiveHub
from streamvision.web.live import HubClosed, TooManyWatchers, View
from tests.web.fakes import FakePicture, analysis_of
from tests.web.test_rates import HandClock


def pixels_of(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def hub() -> Iterator[LiveHub]:
    hub = LiveHub(SystemClock(), max_watchers=3)
    yield hub
    hub.close()


def publish(hub: LiveHub, step: int = 0, stream: str = "gate") -> FakePicture:
    picture = FakePicture(step)
    hub.publish(stream, analysis_of(stream, step), picture, {}, {})
    return picture


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())


def test_nothing_is_wanted_and_nothing_kept_while_nobody_watches(hub: LiveHub) -> None:
    assert not hub.wanted("gate")
    kept = weakref.ref(publish(hub))
    gc.collect()
    assert kept() is None


def test_a_stream_is_wanted_from_the_first_watcher_to_the_last(hub: LiveHub) -> None:
    with hub.watch("gate"):
        with hub.watch("gate"):
            assert hub.wanted("gate")
            assert not hub.wanted("yard")
        assert hub.wanted("gate")
    assert not hub.wanted("gate")


def test_only_the_newest_picture_is_kept_and_released_with_the_last_watcher(hub: LiveHub) -> None:
    with hub.watch("gate"):
        old, new = weakref.ref(publish(hub, 1)), weakref.ref(publish(hub, 2))
        gc.collect()
        assert old() is None
        assert new() is not None
    gc.collect()
    assert new() is None


def test_pictures_are_wanted_at_most_so_often_and_on_average_that_often() -> None:
    clock = HandClock()
    hub = LiveHub(clock, max_fps=10)
    taken = 0
    with hub.watch("gate"):
        for step in range(125):  # ten seconds at 12.5 pictures per second
            clock.now_s = 100 + step * 0.08
            if hub.wanted("gate"):
                publish(hub, step)
                taken += 1
    assert 97 <= taken <= 102
    hub.close()


def test_a_watcher_gets_the_next_picture_and_then_only_newer_ones(hub: LiveHub) -> None:
    async def watch() -> None:
        with hub.watch("gate") as watcher:
            publish(hub, 1)
            assert (await watcher.next()).analysis.info.seq == 1
            waiting = asyncio.create_task(watcher.next())
            await asyncio.sleep(0)
            threading.Thread(target=publish, args=(hub, 2)).start()
            assert (await waiting).analysis.info.seq == 2
            for step in (3, 4, 5):
                publish(hub, step)
            assert (await watcher.next()).analysis.info.seq == 5

    run(watch)


def test_one_encoding_serves_every_watcher_of_the_same_view(hub: LiveHub) -> None:
    async def watch() -> None:
        with hub.watch("gate") as one, hub.watch("gate") as two:
            picture = publish(hub)
            shot = await one.next()
            assert picture.conversions == 0, "a picture is converted only when a watcher is ready for it"
            first, second, other = await asyncio.gather(
                one.jpeg(shot, View(300)), two.jpeg(await two.next(), View(320)), two.jpeg(shot, View(320, False))
            )
            assert first is second
            assert first != other
            assert picture.conversions == 2

    run(watch)


@pytest.mark.parametrize(("asked", "size"), [(100, (160, 90)), (320, (320, 180)), (3840, (640, 360))])
def test_a_file_has_the_asked_width_and_never_more_than_the_picture(
    hub: LiveHub, asked: int, size: tuple[int, int]
) -> None:
    async def watch() -> None:
        with hub.watch("gate") as watcher:
            publish(hub)
            data = await watcher.jpeg(await watcher.next(), View(asked))
            assert pixels_of(data).shape[1::-1] == size

    run(watch)


def test_the_house_can_be_full(hub: LiveHub) -> None:
    watchers = [hub.watch(stream) for stream in ("gate", "gate", "yard")]
    with pytest.raises(TooManyWatchers):
        hub.watch("gate")
    watchers[0].close()
    watchers[0].close()
    assert hub.watchers() == 2
    hub.watch("gate").close()


def test_closing_sends_everybody_home(hub: LiveHub) -> None:
    async def watch() -> None:
        with hub.watch("gate") as watcher:
            waiting = asyncio.create_task(watcher.next())
            await asyncio.sleep(0)
            threading.Thread(target=hub.close).start()
            with pytest.raises(HubClosed):
                await waiting

    run(watch)
    with pytest.raises(HubClosed):
        hub.watch("gate")


def test_watchers_of_a_stream_that_is_gone_are_sent_home_and_the_others_stay(hub: LiveHub) -> None:
    async def watch() -> None:
        with hub.watch("gate") as watcher, hub.watch("yard") as other:
            waiting, staying = asyncio.create_task(watcher.next()), asyncio.create_task(other.next())
            await asyncio.sleep(0)
            hub.forget("gate")
            with pytest.raises(HubClosed):
                await waiting
            publish(hub, stream="yard")
            assert (await staying).number == 1
        assert hub.watchers() == 0

    run(watch)
    assert not hub.wanted("gate")
    hub.forget("gate")
    with hub.watch("gate"):  # one of that name has come again
        assert hub.wanted("gate")


def test_a_watcher_whose_loop_is_gone_does_no_harm(hub: LiveHub) -> None:
    watcher = hub.watch("gate")
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Task[Any]:
        task = asyncio.ensure_future(watcher.next())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(start())
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    publish(hub)
    watcher.close()
