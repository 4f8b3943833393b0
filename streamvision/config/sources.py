"""Which source plug-in serves a URL, and what a relative path is relative to."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):")
_SCHEMES = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http", "v4l2": "v4l2", "demo": "demo"}
_LOCAL_SCHEMES = {"file", "images"}
_VIDEO_DEVICE = re.compile(r"/dev/(video\d+|v4l/.+)")


def scheme_of(url: str) -> str:
    """Return a URL's scheme in lower case; empty for a path (a path that exists is one whatever it looks like)."""
    found = _SCHEME.match(url)
    return found["scheme"].lower() if found and not os.path.exists(url) else ""


def known_schemes() -> list[str]:
    """Return every scheme a URL can have."""
    return sorted({*_SCHEMES, *_LOCAL_SCHEMES})


def source_kind(url: str) -> str:
    """Return the name of the source plug-in for a URL or path: rtsp, http, v4l2, demo, images or file."""
    scheme = scheme_of(url)
    if scheme in _SCHEMES:
        return _SCHEMES[scheme]
    if _VIDEO_DEVICE.fullmatch(url):
        return "v4l2"
    path = local_path(url)
    is_glob = any(mark in path for mark in "*?[") and not os.path.exists(path)
    return "images" if scheme == "images" or os.path.isdir(path) or is_glob else "file"


def local_path(url: str) -> str:
    """Return the path that ``file:``, ``images:`` or a bare path names."""
    scheme = scheme_of(url)
    if scheme not in _LOCAL_SCHEMES:
        return url
    rest = url[len(scheme) + 1 :]
    if rest.startswith("//"):  # file://HOST/PATH: the host is empty or this machine
        rest = "/" + rest[2:].partition("/")[2] if not rest.startswith("///") else rest[2:]
        return unquote(rest)
    return rest


def absolute_url(url: str, folder: Path) -> str:
    """Return ``url`` with a relative path made absolute from ``folder``; anything else unchanged."""
    scheme = scheme_of(url)
    if scheme in _LOCAL_SCHEMES:
        return f"{scheme}:{_absolute(local_path(url), folder)}"
    return url if scheme else _absolute(url, folder)


def _absolute(path: str, folder: Path) -> str:
    return os.path.normpath(folder / Path(path).expanduser())
