"""Health, metrics, API, live view and the page, over one `Board`; nothing here reaches into the daemon."""

from __future__ import annotations

from streamvision.web.app import create_app
from streamvision.web.board import (
    Board,
    Counts,
    EngineReadiness,
    EventExplanation,
    Health,
    Readiness,
    ReloadProblem,
    ReloadReport,
    StreamStatus,
    frame_age_s,
)
from streamvision.web.live import LiveHub
from streamvision.web.rates import RateMeter
from streamvision.web.security import Tokens
from streamvision.web.server import WebServer
from streamvision.web.tls import TlsFiles

__all__ = [
    "Board",
    "Counts",
    "EngineReadiness",
    "EventExplanation",
    "Health",
    "LiveHub",
    "RateMeter",
    "Readiness",
    "ReloadProblem",
    "ReloadReport",
    "StreamStatus",
    "TlsFiles",
    "Tokens",
    "WebServer",
    "create_app",
    "frame_age_s",
]
