"""What goes on, as the event store knows it."""

from __future__ import annotations

from streamvision.clock import SystemClock
from streamvision.interfaces import Ongoing
from streamvision.sinks.store import EventStore
from streamvision.types import Phase
from tests.sinks.samples import event


def test_the_store_knows_what_has_begun_and_not_ended_in_this_run(tmp_path):
    store = EventStore(tmp_path / "events.db", SystemClock())
    first, second = Ongoing("gate", "intruder", "a"), Ongoing("gate", "intruder", "b")
    store.append([event(1, happening="a"), event(2, happening="b"), event(3, happening="c", phase=Phase.INSTANT)])
    assert list(store.happenings.ongoing()) == [first, second]
    store.append([event(4, happening="a", phase=Phase.END), event(5, happening="b", phase=Phase.UPDATE)])
    assert list(store.happenings.ongoing()) == [second]
    store.append([event(6, happening="d", phase=Phase.UPDATE), event(7, happening="x", phase=Phase.END)])
    assert list(store.happenings.ongoing()) == [second, Ongoing("gate", "intruder", "d")]
    store.close()
    again = EventStore(tmp_path / "events.db", SystemClock())
    assert not again.happenings.ongoing()
    again.close()
