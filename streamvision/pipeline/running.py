"""The life of single stages: how each is started, and how each ends with everything it holds accounted for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from streamvision.analysis import AnalysisStage, Errand
from streamvision.asides import Aside
from streamvision.channel import Channel
from streamvision.errors import StoreError
from streamvision.metrics import StreamStats
from streamvision.pipeline.parts import (
    ASIDE_ALLOWANCE_S,
    CAPTURE_ALLOWANCE_S,
    CAPTURE_END_S,
    SINK_ALLOWANCE_S,
    STAGE_ALLOWANCE_S,
    Lane,
    Row,
    Side,
    Stages,
    capture_stage,
    left_s,
)
from streamvision.pipeline.wiring import Wiring
from streamvision.sinks.delivery import Delivery
from streamvision.types import Frame

log = structlog.get_logger()

SETTLE_S: Final = 5.0
"""How long pictures that are under way may take to get their fate, once nothing follows them."""
SINK_END_S: Final = 40.0
"""How long a delivery under way may take to come back; longer than any sink's own deadline for one attempt."""
ASIDE_END_S: Final = 15.0
_PEEK_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Running:
    """Starts and ends stages. Once ``stopping`` is set, nobody waits for single ones any more: `end` does for all."""

    stages: Stages
    wiring: Wiring
    stopping: threading.Event

    def analysis(self) -> None:
        """Start the analysis thread."""
        self.wiring.heartbeats.register(AnalysisStage.STAGE, STAGE_ALLOWANCE_S)
        self.stages.analysis.start()

    def delivery(self, delivery: Delivery) -> None:
        """Start a delivery."""
        self.wiring.heartbeats.register(delivery.stage, SINK_ALLOWANCE_S)
        delivery.start()

    def side(self, side: Side) -> None:
        """Start a second network's lane."""
        self.wiring.heartbeats.register(side.lane.stage, STAGE_ALLOWANCE_S)
        side.lane.start()

    def aside(self, aside: Aside) -> None:
        """Start what works beside the flow."""
        self.wiring.heartbeats.register(aside.stage, ASIDE_ALLOWANCE_S)
        aside.start()

    def lane(self, lane: Lane) -> None:
        """Start a model's lane."""
        for stage in lane.runner.stages:
            self.wiring.heartbeats.register(stage, STAGE_ALLOWANCE_S)
        lane.runner.start()

    def capture(self, row: Row) -> None:
        """Start a stream's capture."""
        self.wiring.heartbeats.register(capture_stage(row.settings.id), CAPTURE_ALLOWANCE_S)
        row.over, row.end_by_s = False, None
        row.capture.start()

    def tell(self, errand: Errand) -> Errand:
        """Have something done by the analysis thread, after all that it has been given before."""
        self.wiring.hand_over(errand)
        return errand

    def stop_captures(self, rows: Iterable[Row]) -> None:
        """Ask captures to end, all by the same moment: each takes its time; does not wait."""
        end_by_s = self.wiring.clock.monotonic() + CAPTURE_END_S
        for row in rows:
            row.capture.stop()
            row.end_by_s = end_by_s if row.end_by_s is None else row.end_by_s

    def end_capture(self, row: Row) -> bool:
        """End a stream's capture and see every picture of it to its fate; leave it behind where it does not end.

        False where the daemon is going down: then the row stays what it is, and `end` ends its capture.
        """
        self.stop_captures([row])
        if not self._wait(lambda: row.capture.join(_PEEK_S), left_s(self.wiring.clock, row.end_by_s or 0.0)):
            if self.stopping.is_set():  # it was given no time: it may be well, and have a picture in hand
                return False
            log.warning("left behind while it waits for its camera", stream=row.settings.id)
            row.capture.disown()()
        stats = self.wiring.metrics.stream(row.settings.id)
        self._wait(lambda: stats.in_flight == 0, SETTLE_S)
        lose(row.inlet, partial(self.wiring.drop, "batch", "stopped"))
        return True

    def end_delivery(self, delivery: Delivery) -> None:
        """End a delivery after the attempt that is under way; the rest waits in the store."""
        delivery.stop(0.0)
        if not self._wait(lambda: delivery.join(_PEEK_S), SINK_END_S):
            log.warning("left behind while it waits for its receiver", stage=delivery.stage)
        self.wiring.heartbeats.retire(delivery.stage)

    def end_aside(self, aside: Aside) -> None:
        """End what works beside the flow."""
        if not aside.stop(ASIDE_END_S):
            log.warning("left behind while it writes", stage=aside.stage)
        self.wiring.heartbeats.retire(aside.stage)

    def end_side(self, side: Side) -> None:
        """End a second network and release its engine, on a thread of its own where that takes long."""
        side.lane.stop(SETTLE_S)
        if side.name not in self.stages.sides:
            self.wiring.heartbeats.retire(side.lane.stage)
        threading.Thread(target=side.lane.engine.close, name="close-engine", daemon=True).start()

    def bury_lanes(self) -> None:
        """Release the engines of lanes whose last picture has been through."""
        for lane in [lane for lane in self.stages.retiring if lane.runner.join(0)]:
            self.stages.retiring.remove(lane)
            if lane.name not in self.stages.lanes:
                for stage in lane.runner.stages:
                    self.wiring.heartbeats.retire(stage)
            threading.Thread(target=lane.engine.close, name="close-engine", daemon=True).start()

    def end(self, remaining_s: Callable[[], float], *, started: bool) -> bool:
        """End everything from the inlet to the outlet; False if something was cut short, or a fate is unknown."""
        stages = self.stages
        self._end_captures(min(CAPTURE_END_S, remaining_s() / 3))
        for row in stages.rows.values():
            row.inlet.close()
        lanes, sides = stages.all_lanes(), list(stages.sides.values())
        for lane in lanes:
            lane.batcher.close()
        drained = [not started or lane.runner.join(remaining_s() * 2 / 3) for lane in lanes]
        for row in stages.rows.values():
            lose(row.inlet, partial(self.wiring.drop, "batch", "stopped"))
        stages.analysis.input.close()
        drained.append(not started or stages.analysis.join(remaining_s() * 2 / 3))
        drained += [side.lane.stop(remaining_s() / 3) for side in sides]
        drained += [aside.stop(remaining_s() / 3) for aside in stages.asides]
        drained.append(self._flush(remaining_s() * 2 / 3))
        drained.append(self._end_deliveries(remaining_s, started=started))
        for engine in (*(lane.engine for lane in lanes), *(side.lane.engine for side in sides)):
            engine.close()
        balanced = [tell_books(stats) for stats in self.wiring.metrics.streams.values()]
        return all(balanced) and all(drained)

    def _end_captures(self, timeout_s: float) -> None:
        """Ask every capture to end. One that waits for a silent camera is left behind: it holds no picture."""
        clock = self.wiring.clock
        until_s = clock.monotonic() + timeout_s
        for row in self.stages.rows.values():
            row.capture.stop()
        for stream, row in self.stages.rows.items():
            if not row.capture.join(left_s(clock, until_s)):
                log.warning("left behind while it waits for its camera", stream=stream)
                row.capture.disown()

    def _end_deliveries(self, remaining_s: Callable[[], float], *, started: bool) -> bool:
        deliveries = list(self.stages.deliveries.values())
        for delivery in deliveries:
            delivery.stop(remaining_s() / 2)
        ended = [not started or delivery.see_off(remaining_s()) for delivery in deliveries]
        return all(ended)

    def _flush(self, timeout_s: float) -> bool:
        try:
            self.wiring.store.flush(timeout_s)
        except StoreError as error:
            log.error("events could not be stored", error=str(error))
            return False
        return True

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for something that the books say and nobody tells."""
        until_s = self.wiring.clock.monotonic() + timeout_s
        while not condition():
            if self.wiring.clock.monotonic() >= until_s or self.stopping.wait(_PEEK_S):
                return False
        return True


def lose(inlet: Channel[Frame], drop: Callable[[Frame], None]) -> None:
    """Give a fate to what no runner took: one of them broke, or hangs."""
    inlet.close()
    while (frame := inlet.take_nowait()) is not None:
        drop(frame)


def tell_books(stats: StreamStats) -> bool:
    """Log a stream's books; False if a picture's fate is unknown."""
    log.info(
        "books", stream=stats.stream, decoded=stats.decoded, analysed=stats.analysed,
        skipped=sum(stats.skipped.values()), dropped=sum(stats.dropped.values()), in_flight=stats.in_flight,
        causes={"/".join(where): count for where, count in stats.dropped.items()}, events=sum(stats.events.values()),
    )  # fmt: skip
    return not stats.in_flight


def wait_for(errands: Sequence[Errand], timeout_s: float) -> bool:
    """Wait until the analysis thread has done errands; False if that took too long."""
    return all(errand.done.wait(timeout_s) for errand in errands)
