"""One camera, one thread: open, read, stamp, choose, scale, hand over, reconnect.

Nothing of one stream can hold up another: every wait is here, bounded, and ends when the stream is stopped. Every
decoded picture gets exactly one fate in the stream's books, or goes into the channel.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

import structlog

from streamvision.capture.course import Course
from streamvision.capture.gate import MotionGate
from streamvision.capture.hangs import Abandoned, LeftBehind, Relay
from streamvision.capture.masks import MaskedPicture, PrivacyMasks
from streamvision.capture.orders import CaptureOptions, Target
from streamvision.capture.pacing import Pacer, TargetRate
from streamvision.capture.quality import Quality
from streamvision.capture.reconnect import Connection, StateChange
from streamvision.channel import Channel, Closed
from streamvision.clock import Clock, MediaTimeline, Stamp
from streamvision.errors import BrokenMedia, CaptureError, CaptureHung, EndOfStream, MachineSlept, without_frames
from streamvision.interfaces import ScalablePicture, Source, SourcePicture
from streamvision.metrics import StreamStats
from streamvision.types import Frame, FrameInfo, StreamState

__all__ = ["CaptureOptions", "StateChange", "StreamCapture", "Target"]

log = structlog.get_logger()

HANDOVER_S = 10.0
"""How long the pictures that one engine still has may keep a stream from going on with the next engine."""

_ON_REQUEST = "stopped", "stopped on request"
_PEEK_S = 0.002
_SLICE_S = 0.25
"""The longest wait without a sign of life or a look at the stop flag."""


class StreamCapture:
    """The isolated capture thread of one stream.

    A live or looping source is opened again for ever; a finite one ends the capture, well or with `failed`. At the
    end the channel is closed. ``crashed`` holds an exception that nobody foresaw: a bug, never a camera's fault.
    A thread that hangs in a call of its source is left behind by `supervise`, and another one goes on.
    """

    def __init__(
        self,
        options: CaptureOptions,
        open_source: Callable[[], Source],
        channel: Channel[Frame],
        stats: StreamStats,
        clock: Clock,
        *,
        rng: random.Random,
        on_state: Callable[[StateChange], None],
        beat: Callable[[], None],
        sleep: Callable[[float], bool] | None = None,
        abandoned: Abandoned | None = None,
    ) -> None:
        """``open_source`` builds a source, unopened. ``sleep`` waits and says whether to stop; tests replace it.

        ``abandoned`` counts the threads left behind, for all streams together.
        """
        self.options = options
        self.failed: CaptureError | None = None
        self.crashed: BaseException | None = None
        self._open_source = open_source
        self._course = Course(options.input, channel)
        self._stats = stats
        self._clock = clock
        self._on_state = on_state
        self._beat = beat
        self._stop = threading.Event()
        self._done = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._connection = Connection(options.stream, self._changed, rng)
        self._timeline: MediaTimeline | None = None
        self._rate = TargetRate(options.fps)
        self._gate = MotionGate() if options.motion_gate else None
        self._masks = PrivacyMasks(options.masks) if options.masks else None
        self._pacer: Pacer | None = None
        self._quality: Quality | None = None
        self._seq = 0
        self._begun = False
        self._telling = threading.RLock()
        self._live = True
        self._abandoned = abandoned or Abandoned()
        self._slept: MachineSlept | None = None
        self._relay = Relay(options.stream, self._run, clock, self._abandoned)

    def start(self) -> None:
        """Begin; call once."""
        self._relay.start()

    def continue_from(self, earlier: StreamCapture) -> None:
        """Go on with media time, epochs and numbers of a capture of this stream that has ended; call before `start`."""
        self._timeline, self._seq = earlier._timeline and earlier._timeline.fork(), earlier._seq

    def retarget(self, target: Target) -> None:
        """Send pictures elsewhere from the next one on, without a new connection and without losing one.

        The capture's own thread does it, between two pictures: it closes the channel that it filled, waits until
        every picture has its fate (at most `HANDOVER_S`), and calls ``target.turn``: pictures stay in order.
        A capture that has ended has nothing to wait for: its turn is now.
        """
        if not self._course.go(target):
            target.channel.close()
            target.turn()

    def stay(self, channel: Channel[Frame], turn: Callable[[], object]) -> bool:
        """Go on filling a channel that was to be left by a turn that has not begun; ``turn`` is called as at a turn.

        False where it is too late for that, or no turn is to come.
        """
        return self._course.stay(channel, turn)

    def also(self, deed: Callable[[], object]) -> bool:
        """Do something at the turn that is to come, or has begun, after all that is due there; False without one."""
        return self._course.also(deed)

    def disown(self) -> Callable[[], object]:
        """Let a capture that does not end fill nothing, and write into nobody's books; for others it has stopped.

        Its thread counts among those left behind until it ends. Returns what a turn that it missed was to do.
        """
        missed = self._course.leave()
        with self._telling:
            if (old := self._connection.state) is not StreamState.STOPPED:
                now_s = self._clock.monotonic()
                self._changed(StateChange(self.options.stream, old, StreamState.STOPPED, *_ON_REQUEST, now_s))
            self._on_state, self._beat = (lambda _: None), (lambda: None)
            self._stats = StreamStats(self.options.stream)
        self._relay.leave()
        return missed

    def supervise(self) -> None:
        """Show the signs of life of a call that may take its time; leave a thread behind that hangs in one.

        To be called a few times per second, by another thread.
        """
        if self._stop.is_set():
            return
        found = self._relay.look()
        if isinstance(found, CaptureHung):
            self._stats.abandoned += 1
            log.error("capture hangs", stream=found.where, cause=found.what, abandoned=self._stats.abandoned)
        elif found:
            self._beat()

    def woken(self, slept_s: float) -> None:
        """Connect a live source anew at once: the machine has slept. To be called by whoever calls `supervise`.

        A camera that refused the credentials is left in peace for as long as it was meant to be.
        """
        if not self._live or self._stop.is_set() or self.finished:
            return
        slept = MachineSlept(slept_s, where=self.options.stream)
        if not self._relay.interrupt(slept):
            self._slept = slept

    def stop(self) -> None:
        """Ask the thread to end; does not wait."""
        self._stop.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end; False if ``timeout`` seconds were not enough."""
        return self._relay.join(timeout)

    @property
    def finished(self) -> bool:
        """Whether the thread has done all it ever will; its channel is closed."""
        return self._done.is_set()

    def _run(self, why: CaptureError | None) -> None:
        reason, cause = "crash", "internal error"
        try:
            reason, cause = self._capture(why)
        except BaseException as error:  # the border of a thread: the supervisor reads `crashed`
            if self._relay.left_behind:
                raise LeftBehind from error
            self.crashed = error
            log.error("capture crashed", stream=self.options.stream, exc_info=error)
        while self._course.end():  # a turn that comes too late: what it was to do is due now
            self._settle(0)
            self._course.arrive()
        self._connection.stopped(reason, cause, self._clock.monotonic())
        self._done.set()

    def _capture(self, why: CaptureError | None) -> tuple[str, str]:
        """Run session after session; return why the stream ended, as label and sentence.

        ``why`` the thread before this one was left behind.
        """
        error = why
        decoded_before = self._stats.decoded
        while not self._stop.is_set():
            if error is not None and (end := self._after(error, progress=self._stats.decoded > decoded_before)):
                return end
            error = None
            self._wait_for_others()
            if self._stop.is_set():
                break
            decoded_before = self._stats.decoded
            source = self._open_source()
            self._live = source.live
            error = self._session(source)
        return _ON_REQUEST

    def _after(self, error: CaptureError, *, progress: bool) -> tuple[str, str] | None:
        """Wait after a session's end as its error asks for; return why the stream ends, if it does."""
        if not self._live and isinstance(error, EndOfStream):
            if not self.options.loop:
                return error.reason, "the source has been read to its end"
            if progress:
                return None
        elif not self._live and not self.options.loop:
            self.failed = error
            return error.reason, str(error)
        self._back_off(error)
        return None

    def _wait_for_others(self) -> None:
        """Wait while too many threads hang, and say so."""
        while (obstacle := self._abandoned.obstacle(self.options.stream)) and not self._stop.is_set():
            self._stats.cause = obstacle
            self._hold(_SLICE_S, idle=True)

    def _session(self, source: Source) -> CaptureError | None:
        """Read one source from open to its end; return what ended it, None if the stream is to stop."""
        if self._stats.state is not StreamState.LIVE:  # a file that starts anew was never away
            self._connection.connecting(self._clock.monotonic())
        limits = self.options.limits
        try:
            self._slept = None  # what begins now begins after it
            self._relay.call(source.open, limits.open_s)
            self._begin_epoch(source)
            self._quality = Quality(self.options.stream, self._clock.monotonic()) if source.live else None
            while not self._stop.is_set():
                if self._slept is not None:
                    raise self._slept
                self._beat()
                self._turn(in_hand=0)
                self._take_all(self._relay.call(source.read, limits.read_s))
        except CaptureError as error:
            return without_frames(error)
        finally:
            if self._relay.left_behind:
                source.close()
            else:
                self._relay.call(source.close, limits.read_s)
        return None

    def _begin_epoch(self, source: Source) -> None:
        if self._begun:
            assert self._timeline is not None
            self._timeline.restart()
            return
        self._begun = True
        start = getattr(source, "started_at", None)
        self._pacer = Pacer() if self.options.pace == "realtime" and not source.live else None
        if self._timeline is None:
            self._timeline = MediaTimeline(self._clock, live=source.live, file_start=start)
        else:
            self._timeline.become(live=source.live, file_start=start)
            self._timeline.restart()

    def _turn(self, *, in_hand: int) -> None:
        """Turn to the next target if there is one, with so many pictures in hand that are not prepared yet."""
        if self._course.turn():
            self._settle(in_hand)
            self._course.arrive()

    def _settle(self, in_hand: int) -> None:
        """Wait until all but the pictures in hand have their fate."""
        until_s = self._clock.monotonic() + HANDOVER_S
        while self._stats.in_flight > in_hand and self._clock.monotonic() < until_s and not self._stop.is_set():
            self._beat()
            self._sleep(_PEEK_S)

    def _back_off(self, error: CaptureError) -> None:
        """Wait before the next attempt, as long as this error and the absence so far ask for."""
        self._stats.reconnects[error.reason] += 1
        self._hold(self._connection.failed(error, self._clock.monotonic()), idle=True)

    def _hold(self, seconds: float, *, idle: bool = False) -> None:
        """Wait, showing signs of life, until the time is over or the stream is to stop; ``idle``: with no picture."""
        until_s = self._clock.monotonic() + seconds
        while (left_s := until_s - self._clock.monotonic()) > 0 and not self._stop.is_set():
            self._beat()
            if idle:
                if self._slept is not None and self._connection.state is not StreamState.AUTH_FAILED:
                    self._slept = None
                    return
                self._turn(in_hand=0)
            self._sleep(min(left_s, _SLICE_S))

    def _take_all(self, arrived: Sequence[SourcePicture]) -> None:
        """Take what one read gave. Afterwards nothing here holds a picture while the next one is waited for."""
        for taken, picture in enumerate(arrived, start=1):
            try:
                self._take(picture)
            except CaptureError:  # the connection is given up, and with it what came after this picture
                for rest in arrived[taken:]:
                    self._count(rest)
                    self._stats.drop("decode", "given_up")
                raise

    def _take(self, arrived: SourcePicture) -> None:
        """Give one decoded picture its fate, or hand it on."""
        assert self._timeline is not None
        stats = self._stats
        self._count(arrived)
        stamp = self._timeline.stamp(arrived.pts_s, arrived.received_s, arrived.sender_utc)
        if self._stats.state is not StreamState.LIVE and not arrived.corrupt:
            self._connection.live(self._clock.monotonic())
        if arrived.corrupt:
            stats.drop("decode", "corrupt")
        elif not self._rate.wants(stamp.media_s):
            stats.skip("target_rate")
        else:
            self._prepare(arrived, stamp)
        if self._quality is not None:
            self._judge(self._quality, arrived)

    def _count(self, arrived: SourcePicture) -> None:
        self._stats.decoded += 1
        self._seq += 1
        self._stats.last_received_s = arrived.received_s
        self._stats.lost_packets += arrived.lost_packets

    def _judge(self, quality: Quality, arrived: SourcePicture) -> None:
        """Say of a live stream what is wrong with it; raise what makes the connection worthless."""
        quality.judge(arrived)
        if self._stats.state is StreamState.LIVE and self._stats.cause != quality.told:
            self._stats.cause = quality.told
            log.warning("pictures", stream=self.options.stream, cause=quality.told or "are whole again")

    def _prepare(self, arrived: SourcePicture, stamp: Stamp) -> None:
        """Scale a wanted picture, when it is due, and hand it on if something moves in it."""
        picture: ScalablePicture = arrived.picture
        if self._masks is not None:
            picture = MaskedPicture(picture, self._masks)
        received_s = self._due(arrived.received_s, stamp.media_s)
        self._turn(in_hand=1)
        try:
            pixels, letterbox = picture.prepare(self._course.input)
        except BrokenMedia:
            self._stats.drop("decode", "unusable")
            return
        if self._gate is not None and not self._gate.wants(pixels, stamp.media_s):
            self._stats.skip("no_motion")
            return
        info = FrameInfo(
            stream=self.options.stream,
            epoch=stamp.epoch,
            seq=self._seq - 1,
            media_s=stamp.media_s,
            received_s=received_s,
            captured_at=stamp.captured_at,
            clock=stamp.clock,
            uncertainty_s=stamp.uncertainty_s,
            size_wh=picture.size_wh,
            sleeps=stamp.sleeps,
        )
        self._stats.size_wh = info.size_wh
        self._put(Frame(info, picture, pixels, letterbox, self._clock.monotonic()))

    def _due(self, received_s: float, media_s: float) -> float:
        """Hold a paced file's picture until it is due; return when it counts as received."""
        if self._pacer is None:
            return received_s
        self._hold(self._pacer.wait_s(media_s, self._clock.monotonic()))
        return self._clock.monotonic()

    def _put(self, frame: Frame) -> None:
        """Hand over; a file waits here as long as it takes, which is nobody's stall."""
        try:
            while not self._stop.is_set():
                if self._course.channel.put(frame, _SLICE_S):
                    return
                self._beat()
        except Closed:  # nobody takes pictures any more
            self._stop.set()
        self._stats.drop("capture", "shutdown")

    def _changed(self, change: StateChange) -> None:
        with self._telling:
            self._stats.state = change.new
            self._stats.cause = "" if change.new is StreamState.LIVE else change.cause
            self._on_state(change)
