"""What a process uses, and whether that grows: the slope of a straight line with its 95 % interval."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil
from scipy.stats import t as student


@dataclass(frozen=True)
class Sample:
    """One look. ``term``: between which two reloads; ``variant``: which configuration was in force then."""

    at_s: float
    term: int
    variant: str
    rss_mb: float
    children_mb: float
    threads: int
    descriptors: int
    live: int
    in_flight: int
    age_s: float


@dataclass(frozen=True)
class Trend:
    """A slope per hour, and the half width of its 95 % interval; infinite where there are too few terms to say."""

    per_hour: float
    within: float

    def __str__(self) -> str:
        return f"{self.per_hour:+.2f} ± {self.within:.2f}/h" if math.isfinite(self.within) else "too short to say"

    def exceeds(self, limit: float) -> bool:
        """Whether it surely grows faster than ``limit`` per hour."""
        return self.per_hour - self.within > limit

    def may_exceed(self, limit: float) -> bool:
        """Whether it cannot be ruled out that it grows faster than ``limit`` per hour."""
        return self.per_hour + self.within > limit


def used(process: psutil.Process) -> tuple[float, float, int, int]:
    """Return MB resident of a process and of its children, its threads, and its descriptors."""
    with process.oneshot():
        own = process.memory_info().rss / 2**20, process.num_threads(), process.num_fds()
    children = 0.0
    for child in process.children(recursive=True):
        try:
            children += child.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            continue
    return own[0], children, own[1], own[2]


def trend(samples: Sequence[Sample], what: str) -> Trend:
    """Fit a straight line through the medians of the terms between reloads, with a level of its own per configuration.

    So neither the configurations' different needs nor the samples' likeness within a term pass for growth or for
    certainty. Ordinary least squares, Student's t.
    """
    terms: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        terms[sample.term].append(sample)
    variants = sorted({sample.variant for sample in samples})
    free = len(terms) - len(variants) - 1
    if free < 3:
        return Trend(0.0, math.inf)
    hours = [statistics.median(one.at_s for one in term) / 3600 for term in terms.values()]
    values = [statistics.median(float(getattr(one, what)) for one in term) for term in terms.values()]
    levels = [[float(term[-1].variant == variant) for variant in variants] for term in terms.values()]
    design = np.column_stack([hours, levels])
    found, *_ = np.linalg.lstsq(design, np.array(values), rcond=None)
    left = np.array(values) - design @ found
    variance = left @ left / free * np.linalg.pinv(design.T @ design)[0, 0]
    return Trend(float(found[0]), float(student.ppf(0.975, free) * math.sqrt(max(0.0, variance))))
