"""Every sink's receiver is killed, frozen, slowed and made to reject in the midst of a run, and the daemon is killed.

Short: one run per sink with every fault once, and one with three kills. Full (STREAMVISION_TEST_SCALE=full): a run of
20,000 events per sink and fault, and 50 kills.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.e2e.delivery.campaign import HOLD_S, Campaign, moments
from tests.e2e.delivery.receivers import Fault, Receiver, chosen
from tests.scale import full, scaled

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EVENTS = scaled(400, 20_000)
RATE = scaled(120.0, 1_000.0)
KILLS = scaled(3, 50)
FAULTS: tuple[Fault, ...] = ("kill", "freeze", "slow", "reject")
RUNS: tuple[tuple[Fault, ...], ...] = tuple((fault,) for fault in FAULTS) if full() else (FAULTS,)


def acts(receiver: Receiver, fault: Fault) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return how a fault begins and how it ends."""
    if fault == "kill":
        return receiver.kill, receiver.start
    if fault == "freeze":
        return receiver.freeze, receiver.thaw
    change = receiver.slow if fault == "slow" else receiver.reject
    return lambda: change(True), lambda: change(False)


@pytest.mark.parametrize("receiver", chosen(), indirect=True)
@pytest.mark.parametrize("faults", RUNS, ids="-".join)
def test_nothing_is_lost_while_the_receiver_fails(receiver, faults, tmp_path):
    possible = [fault for fault in faults if fault in receiver.faults]
    if not possible:
        pytest.skip(f"this receiver cannot be made to {faults[0]}")
    receiver.start()
    run = Campaign(receiver, tmp_path, EVENTS, RATE)
    run.start_feeder()
    for number, fault in enumerate(possible, start=1):
        run.wait_received(EVENTS * number // (len(possible) + 4))
        with run.fault(*acts(receiver, fault)):
            time.sleep(scaled(HOLD_S, 5.0))  # the fault's own duration
    books = run.finish()
    run.check()
    assert (books["pending"], books["dead_letters"]) == (0, 0)
    assert books["delivered"] == EVENTS


@pytest.mark.parametrize("receiver", chosen(), indirect=True)
def test_nothing_is_lost_when_the_daemon_is_killed(receiver, tmp_path):
    chance = random.Random(11)
    receiver.start()
    run = Campaign(receiver, tmp_path, EVENTS, scaled(RATE * 2, RATE))
    for moment in moments(7, KILLS, EVENTS):
        run.start_feeder()
        before = len(receiver.received())
        run.wait_stored(moment)
        time.sleep(chance.random() * 0.3)  # between any two steps
        run.kill_feeder()
        run.mark(before, len(receiver.received()))
    run.start_feeder()
    run.finish()
    run.mark(before, len(receiver.received()))
    run.check()
