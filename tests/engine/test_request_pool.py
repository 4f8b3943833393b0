"""The pool that keeps the requests of a backend busy."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from streamvision.engine.backends import Intake, Items, Outputs, RequestPool
from streamvision.errors import EngineError

WAIT_S = 20
PIXEL = Intake((1, 1, 3), np.dtype(np.uint8), 1, "picture")


def test_submit_waits_for_a_free_request() -> None:
    gate = threading.Event()

    def infer(items: Items) -> Outputs:
        gate.wait(WAIT_S)
        return [items[0]]

    pool = RequestPool("gated", PIXEL, [infer, infer])
    blank = np.zeros((1, 1, 3), np.uint8)
    first = [pool.submit([blank]) for _ in range(2)]
    third: list[Future[Outputs]] = []
    blocked = threading.Thread(target=lambda: third.append(pool.submit([blank])))
    blocked.start()
    blocked.join(0.05)
    assert not third
    gate.set()
    blocked.join(WAIT_S)
    assert [future.result(WAIT_S)[0].shape for future in [*first, *third]] == [(1, 1, 3)] * 3
    pool.close()


def test_close_waits_for_what_is_running() -> None:
    started, gate = threading.Event(), threading.Event()

    def infer(items: Items) -> Outputs:
        started.set()
        gate.wait(WAIT_S)
        return [items[0]]

    pool = RequestPool("gated", PIXEL, [infer])
    future = pool.submit([np.zeros((1, 1, 3), np.uint8)])
    assert started.wait(WAIT_S)
    closing = threading.Thread(target=pool.close)
    closing.start()
    assert not future.done()
    gate.set()
    closing.join(WAIT_S)
    assert future.done()


def test_a_request_that_cannot_warm_up_leaves_no_thread_behind() -> None:
    def infer(items: Items) -> Outputs:
        raise ValueError("out of order")

    before = threading.active_count()
    pool = RequestPool("broken", PIXEL, [infer])
    with pytest.raises(EngineError, match="inference failed: out of order"):
        pool.warm_up()
    assert threading.active_count() == before
