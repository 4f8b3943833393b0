"""Download a model's file: resumed after an interruption, verified, and only then put in place under its name."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from streamvision.engine.folders import pull_folder
from streamvision.engine.manifest import Manifest, ModelFile
from streamvision.engine.models import sha256_of
from streamvision.errors import MissingError, ModelMissing, UsageError

Progress = Callable[[int, int | None], None]
"""Is told the bytes that are here and, where known, the bytes that there will be."""

_TIMEOUT_S = 30.0
_CHUNK = 1 << 16
_RANGE_REFUSED = 416


def pull(manifest: Manifest, progress: Progress = lambda here, total: None) -> Path:
    """Make sure that a model's file lies in the pull folder; return its path.

    A second `pull` of the same file, from any process, waits for the first. Raises `UsageError` for a model that has
    nothing to pull, `ModelMissing` where the download fails, `MissingError` where the file cannot be written.
    """
    file = manifest.file
    if file is None or file.url is None:
        why = "needs no file" if file is None else "has a file, but its manifest states no url"
        raise UsageError(f"there is nothing to pull: {manifest.name} {why}")
    target = pull_folder() / file.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if not (target.is_file() and sha256_of(target) == file.sha256):
                _fetch(file, file.url, target, progress)
    except OSError as error:
        raise MissingError(f"{target} cannot be written: {error.strerror or error}", where=manifest.name) from error
    return target


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock of one file; the kernel frees it with the process, however that ends."""
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(file: ModelFile, url: str, target: Path, progress: Progress) -> None:
    # The hash in the name keeps the beginning of one version from being continued with the end of another.
    part = target.with_name(f".{target.name}.{file.sha256[:12]}.part")
    if file.bytes is not None and part.exists() and part.stat().st_size > file.bytes:
        part.unlink()
    if not _complete(part, file):
        with _network_errors(url, target.parent):
            _download(url, part, file.bytes, progress)
    _verify(part, file, url)
    os.replace(part, target)


def _complete(part: Path, file: ModelFile) -> bool:
    return part.exists() and file.bytes is not None and part.stat().st_size == file.bytes


def _download(url: str, part: Path, expected: int | None, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "streamvision", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = _opener().open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_REFUSED or not have:
            raise
        error.close()
        part.unlink()  # the server has less than lies here: it is not the same file
        return _download(url, part, expected, progress)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT and _starts_at(response, have)
        with part.open("ab" if resumed else "wb") as out:
            _copy(response, out, expected, progress)
            out.flush()
            os.fsync(out.fileno())
    return None


def _copy(response: Any, out: IO[bytes], expected: int | None, progress: Progress) -> None:
    here = out.tell()
    length = response.headers.get("Content-Length")
    total = expected if expected is not None else here + int(length) if length else None
    progress(here, total)
    while chunk := response.read(_CHUNK):
        here += len(chunk)
        if total is not None and here > total:
            raise http.client.HTTPException(f"the server sends more than the {total} bytes that the file has")
        out.write(chunk)
        progress(here, total)
    if total is not None and here < total:
        raise http.client.IncompleteRead(b"", total - here)


def _starts_at(response: Any, offset: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {offset}-")


def _verify(part: Path, file: ModelFile, url: str) -> None:
    digest = sha256_of(part)
    if digest != file.sha256:
        part.unlink()
        raise ModelMissing(
            f"{_shown(url)} gives another file: its sha256 is {digest}, the manifest says {file.sha256}",
            remedy="nothing was kept; correct the manifest if the file was replaced on purpose",
        )


@contextlib.contextmanager
def _network_errors(url: str, folder: Path) -> Iterator[None]:
    """Map what a download can meet to `ModelMissing`; errors of the local disk pass."""
    offline = f"with no network, bring the file from elsewhere into {folder}"
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise ModelMissing(f"{_shown(url)}: the server answers {error.code} {error.reason}", remedy=offline) from error
    except urllib.error.URLError as error:
        raise ModelMissing(f"{_shown(url)} cannot be reached: {error.reason}", remedy=offline) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise ModelMissing(
            f"{_shown(url)}: the download broke off: {error}", remedy="run it again: it goes on where it stopped"
        ) from error


def _shown(url: str) -> str:
    """Return a URL without user, password and query, which may hold a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone: no redirect may lead to ftp or to a local file."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
