"""Every error that streamvision raises on purpose, as one tree.

Each says what happened, where, and what to do about it; a user never needs a traceback to act on one.

    StreamvisionError                    exit 1
    |-- ConfigError                      exit 2   one or more problems in a configuration file
    |-- UsageError                       exit 2   arguments that cannot be served
    |-- ManifestError                    exit 2   a model manifest that is wrong or lies
    |-- PluginError                      exit 2   an unknown or broken plug-in
    |-- DataError                        exit 2   a labelled data set with mistakes
    |-- CaptureError                     exit 3   a source that cannot be opened or read; has a ``reason``
    |   |-- ConnectError                          refused, unreachable, unknown host
    |   |-- TimedOut                              no answer or no data within the deadline
    |   |-- FellBehind                            a live stream that comes ever later than it is sent
    |   |-- PacketsLost                           so much is lost on the way that no picture is whole
    |   |-- AuthFailed                            wrong or missing credentials
    |   |-- SourceNotFound                        no such file, device or path on the server
    |   |-- UnsupportedMedia                      no video, unknown codec, encrypted
    |   |-- BrokenMedia                           the data cannot be decoded
    |   |-- CaptureHung                           a call into native code did not return
    |   |-- DecoderLost                           the process of an isolated source crashed or hung
    |   |-- MachineSlept                          what was connected before the machine slept
    |   `-- EndOfStream                           a live source that ended; a finite one that is done
    |-- MissingError                     exit 3   something outside is missing: network, device, package, file
    |   |-- ModelMissing                          a network's file is not on this machine
    |   `-- BackendUnavailable                    an inference backend cannot be used here
    |-- EngineError                      exit 1   an engine failed to build or to run
    |   |-- StaleEngine                             a compiled file of another version, device or network
    |   |-- OutOfDeviceMemory                       the GPU has too little memory left
    |   |-- DeviceLost                            the device is gone: nothing on it can be used any more
    |   `-- BatchLost                             one batch is lost, and the engine goes on
    |-- StoreError                       exit 1   the local event store failed
    |   `-- StoreUnusable                           its folder cannot be written at present
    `-- SinkError                        exit 1   a delivery failed; has a ``reason`` and ``permanent``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar


class StreamvisionError(Exception):
    """Base of the tree: what happened, where (stream, file, line) and what to do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{remedy}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file. Line and column count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}{remedy}"


class ConfigError(StreamvisionError):
    """A configuration with at least one problem; ``problems`` holds all of them in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UsageError(StreamvisionError):
    """Command line arguments that cannot be served."""

    exit_code = 2


class ManifestError(StreamvisionError):
    """A model manifest that is malformed, or that does not fit its network."""

    exit_code = 2


class PluginError(StreamvisionError):
    """A plug-in that is unknown or cannot be imported."""

    exit_code = 2


class DataError(StreamvisionError):
    """A labelled data set with mistakes, found before anything is done with it."""

    exit_code = 2


class CaptureError(StreamvisionError):
    """A source that cannot be opened or read. ``reason`` is a short label for metrics."""

    exit_code = 3
    reason: ClassVar[str] = "error"


class ConnectError(CaptureError):
    """The server refused, is unreachable, or its name is unknown."""

    reason = "connect"


class TimedOut(CaptureError):  # noqa: N818
    """Nothing came within the open or read deadline."""

    reason = "timeout"


class FellBehind(CaptureError):  # noqa: N818
    """The pictures of a live stream come later and later: the way is slower than the stream."""

    reason = "behind"


class PacketsLost(CaptureError):  # noqa: N818
    """So many packets are lost on the way that no picture is whole any more."""

    reason = "loss"


class AuthFailed(CaptureError):  # noqa: N818
    """The server wants other credentials."""

    reason = "auth"


class SourceNotFound(CaptureError):  # noqa: N818
    """The file, device or path on the server does not exist."""

    reason = "not_found"


class UnsupportedMedia(CaptureError):  # noqa: N818
    """There is no picture that can be decoded: no video stream, an unknown codec, encryption."""

    reason = "unsupported"


class BrokenMedia(CaptureError):  # noqa: N818
    """The data is damaged beyond decoding."""

    reason = "broken"


class DecoderLost(CaptureError):  # noqa: N818
    """The process that a source was isolated in crashed, or hung and was ended."""

    reason = "decoder_crashed"


class MachineSlept(CaptureError):  # noqa: N818
    """The machine has slept for ``slept_s`` seconds; what was connected before is given up."""

    reason = "slept"

    def __init__(self, slept_s: float, *, where: str | None = None) -> None:
        super().__init__(f"the machine slept for {slept_s:.0f} s", where=where)
        self.slept_s = slept_s


class CaptureHung(CaptureError):  # noqa: N818
    """A call into native code did not return; its thread was left behind."""

    reason = "hung"


class EndOfStream(CaptureError):  # noqa: N818
    """The source has ended."""

    reason = "end"


class MissingError(StreamvisionError):
    """Something outside the program is missing: network, device, package or file."""

    exit_code = 3


class ModelMissing(MissingError):  # noqa: N818
    """A network's file is not on this machine."""


class BackendUnavailable(MissingError):  # noqa: N818
    """An inference backend cannot be used on this machine."""


class EngineError(StreamvisionError):
    """An engine failed to build or to run."""


class DeviceLost(EngineError):  # noqa: N818
    """The device has gone, or is in a state from which it does not recover; every engine on it is lost."""


class BatchLost(EngineError):  # noqa: N818
    """One batch was lost and the engine goes on with the next: its pictures are dropped, nothing ends."""


class StaleEngine(EngineError):  # noqa: N818
    """A compiled engine that this version, driver or device does not take, or that is damaged: compile it again."""


class OutOfDeviceMemory(EngineError):  # noqa: N818
    """The GPU has too little memory left; what is loaded goes on."""


class StoreError(StreamvisionError):
    """The local event store cannot be opened, read or written."""


class StoreUnusable(StoreError):  # noqa: N818
    """Its folder cannot be written at present: rights, a read-only or full disk, one that is not mounted."""


class SinkError(StreamvisionError):
    """A delivery failed; with ``permanent`` it will never succeed.

    ``retry_after_s``: the receiver asked for this pause (a ``Retry-After``); the next attempt is not made before it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        reason: str = "error",
        permanent: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.reason = reason
        self.permanent = permanent
        self.retry_after_s = retry_after_s


E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """Take the tracebacks of an error and of its causes away, and return it.

    They hold whatever the functions held that it came through, a picture among it, for as long as somebody keeps the
    error; and one that a function has named and raised holds itself.
    """
    found: list[BaseException | None] = [error]
    while found:
        if (one := found.pop()) is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            found += [one.__cause__, one.__context__]
    return error
