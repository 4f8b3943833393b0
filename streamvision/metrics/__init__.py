"""What is counted, and how it is told to Prometheus: the books, and their text exposition."""

from __future__ import annotations

from streamvision.metrics.books import (
    AGE_BOUNDS_S,
    BATCH_BOUNDS,
    ENGINE_BOUNDS_S,
    EngineStats,
    Histogram,
    OutboxStats,
    ReloadStats,
    SinkStats,
    StreamStats,
)
from streamvision.metrics.exposition import CONTENT_TYPE, ENGINE_STATES, Metrics

__all__ = [
    "AGE_BOUNDS_S",
    "BATCH_BOUNDS",
    "CONTENT_TYPE",
    "ENGINE_BOUNDS_S",
    "ENGINE_STATES",
    "EngineStats",
    "Histogram",
    "Metrics",
    "OutboxStats",
    "ReloadStats",
    "SinkStats",
    "StreamStats",
]
