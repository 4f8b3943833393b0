"""What FFmpeg and the sockets say went wrong, as the typed tree of `streamvision.errors`.

FFmpeg often reports a network failure as "invalid data" or "input/output error" (libavformat 62: an unreachable
host, an unknown name and an interrupted open of RTSP all do), so the elapsed time is asked first, and after that
one plain connection tells whether the server can be reached at all.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final
from urllib.parse import SplitResult, urlsplit

import av
import av.error

from streamvision.errors import (
    AuthFailed,
    BrokenMedia,
    CaptureError,
    ConnectError,
    EndOfStream,
    SourceNotFound,
    TimedOut,
    UnsupportedMedia,
)
from streamvision.redact import redact_url

_PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_TLS: Final = frozenset({"rtsps", "https"})
_SLACK_S: Final = 0.05
"""FFmpeg looks at the deadline between polls, so an interrupted call may end slightly early or late."""

_Meaning = tuple[type[CaptureError], str, str | None]

_CREDENTIALS: Final = "check the user name and password in the URL"
_MEANINGS: Final[dict[type[Exception], _Meaning]] = {
    av.error.HTTPUnauthorizedError: (AuthFailed, "the server refused the credentials (401)", _CREDENTIALS),
    av.error.HTTPForbiddenError: (AuthFailed, "the server forbids access (403)", _CREDENTIALS),
    av.error.HTTPNotFoundError: (SourceNotFound, "the server has no such path (404)", "check the path of the URL"),
    av.error.HTTPClientError: (ConnectError, "the server refused the request", "check that the path has a video"),
    av.error.HTTPServerError: (ConnectError, "the server has an error of its own (5xx)", None),
    av.error.ConnectionRefusedError: (ConnectError, "the connection was refused", "is the server running there?"),
    av.error.ConnectionResetError: (ConnectError, "the server reset the connection", None),
    av.error.ConnectionAbortedError: (ConnectError, "the connection was aborted", None),
    av.error.BrokenPipeError: (ConnectError, "the server closed the connection", None),
    av.error.TimeoutError: (TimedOut, "nothing came in time", None),
    av.error.ExitError: (TimedOut, "nothing came in time", None),
    av.error.FileNotFoundError: (SourceNotFound, "it does not exist", "check the path"),
    av.error.IsADirectoryError: (UnsupportedMedia, "it is a folder, not a video", None),
    av.error.PermissionError: (SourceNotFound, "it may not be read", "give the user of this process read access"),
    av.error.EOFError: (EndOfStream, "it has ended", None),
    av.error.ProtocolNotFoundError: (UnsupportedMedia, "FFmpeg does not know this protocol", None),
    av.error.DemuxerNotFoundError: (UnsupportedMedia, "FFmpeg cannot read this format", None),
    av.error.DecoderNotFoundError: (UnsupportedMedia, "FFmpeg has no decoder for this video", None),
    av.error.PatchWelcomeError: (UnsupportedMedia, "FFmpeg does not support this kind of video yet", None),
    av.error.NotImplementedError: (UnsupportedMedia, "FFmpeg does not support this kind of video", None),
    av.error.InvalidDataError: (BrokenMedia, "this is not a video that can be read", None),
    av.error.ArgumentError: (SourceNotFound, "the address is malformed", "check the URL"),
}
_ERRNOS: Final[dict[int, _Meaning]] = {
    errno.EPROTONOSUPPORT: (ConnectError, "the server refuses this transport", "set transport: auto"),
    errno.EBUSY: (ConnectError, "the device is in use", "end the program that uses it"),
}


def refuses_transport(error: av.error.FFmpegError) -> bool:
    """Return whether an RTSP server answered 461 to every transport that it was offered."""
    return error.errno == errno.EPROTONOSUPPORT


def capture_error(error: av.error.FFmpegError, url: str, elapsed_s: float, deadline_s: float) -> CaptureError:
    """Return the typed error for what FFmpeg raised after ``elapsed_s`` of a call that had ``deadline_s``.

    Credentials are taken out of the original as well, because a traceback shows it.
    """
    hide_credentials(error)
    if elapsed_s >= deadline_s - _SLACK_S:
        return timed_out(url, deadline_s)
    kind, what, remedy = _meaning(error)
    return kind(what, where=redact_url(url), remedy=remedy)


def hide_credentials(error: av.error.FFmpegError) -> None:
    """Take credentials out of FFmpeg's own error, whose message quotes the URL.

    Its last part is the last line of the log, whoever wrote it: it may quote another stream's.
    """
    error.args = tuple(redact_url(part) if isinstance(part, str) else part for part in error.args[:3])


def opening_error(
    error: av.error.FFmpegError, url: str, elapsed_s: float, deadline_s: float, *, tls_verify: bool = True
) -> CaptureError:
    """Return the typed error of a failed open; may connect once more to tell an unreachable server from bad data."""
    found = capture_error(error, url, elapsed_s, deadline_s)
    if type(found) in (BrokenMedia, CaptureError) and urlsplit(url).scheme in _PORTS:
        return _unreachable(url, deadline_s - elapsed_s, tls_verify) or found
    return found


def tls_options(verify: bool) -> dict[str, str]:
    """Return FFmpeg's options for checking a server's certificate against the authorities of this machine."""
    authorities = ssl.get_default_verify_paths().cafile
    return {"tls_verify": str(int(verify)), **({"ca_file": authorities} if verify and authorities else {})}


def reading_error(
    error: av.error.FFmpegError, url: str, elapsed_s: float, deadline_s: float, *, live: bool
) -> CaptureError:
    """Return the typed error of a failed read; what FFmpeg cannot explain on a live stream is a broken connection."""
    found = capture_error(error, url, elapsed_s, deadline_s)
    if live and type(found) is CaptureError:
        return ConnectError(f"the connection broke: {error.strerror}", where=found.where)
    return found


def timed_out(url: str, deadline_s: float) -> TimedOut:
    """Return the error for silence."""
    return TimedOut(f"nothing came within {deadline_s:g} s", where=redact_url(url))


def _meaning(error: av.error.FFmpegError) -> _Meaning:
    for kind in type(error).__mro__:
        if kind in _MEANINGS:
            return _MEANINGS[kind]
    if error.errno in _ERRNOS:
        return _ERRNOS[error.errno]
    reason = error.strerror or os.strerror(error.errno or errno.EIO)
    return CaptureError, f"FFmpeg cannot read it: {reason}", None


def _unreachable(url: str, timeout_s: float, tls_verify: bool) -> CaptureError | None:
    """Connect as FFmpeg should have done; return why that fails, None if it does not."""
    parts, where = urlsplit(url), redact_url(url)
    try:
        _connect(parts, timeout_s, tls_verify)
    except TimeoutError:
        return TimedOut("the server does not answer", where=where)
    except socket.gaierror:
        return ConnectError(f"there is no host called {parts.hostname}", where=where, remedy="check the URL and DNS")
    except ssl.SSLCertVerificationError as error:
        return ConnectError(
            f"the server's certificate is not trusted: {error.verify_message}",
            where=where,
            remedy="install its authority, or set tls_verify: false for a camera with a certificate of its own",
        )
    except (OSError, ValueError) as error:  # ValueError: a port that is no number
        return ConnectError(f"the server cannot be reached: {error}", where=where)
    return None


def _connect(parts: SplitResult, timeout_s: float, tls_verify: bool) -> None:
    address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
    with socket.create_connection(address, max(timeout_s, _SLACK_S)) as plain:
        if parts.scheme in _TLS and tls_verify:
            ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname).close()
