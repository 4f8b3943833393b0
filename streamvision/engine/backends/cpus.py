"""How many CPUs this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")

MAX_WORKERS = 16
"""More inferences at a time only cost memory: one capture and analysis process cannot feed them."""


def usable_cpus(cgroups: Path = _CGROUPS, own_group: Path = _OWN_GROUP) -> int:
    """Return the CPUs of the affinity mask, or fewer where a control group (v2) grants less time; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min([allowed, *_quotas(cgroups, own_group)]))


def _quotas(cgroups: Path, own_group: Path) -> list[int]:
    """Return the CPU limits, rounded up, of the own control group and of all above it."""
    try:
        lines = own_group.read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folders = [cgroups / own, *(cgroups / own).parents]
    limits = [_quota(folder / "cpu.max") for folder in folders if folder.is_relative_to(cgroups)]
    return [limit for limit in limits if limit is not None]


def _quota(file: Path) -> int | None:
    try:
        quota, period = file.read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return None
