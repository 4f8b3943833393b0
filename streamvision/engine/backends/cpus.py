"""Which CPU this is, and how much of it this process may really use."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")
_CPU_INFO = Path("/proc/cpuinfo")

MAX_WORKERS = 16
"""More inferences at a time only cost memory: one capture and analysis process cannot feed them."""


def cpu_workers() -> int:
    """Return how many inferences at a time keep this machine's CPUs busy, one thread each."""
    return min(usable_cpus(), MAX_WORKERS)


def on_cpu(precision: str) -> str:
    """Return how a network of that precision is computed on a CPU, for people."""
    words = {"fp32": "", "fp16": ", fp16 weights"}.get(precision, f", {precision}")
    return f"CPU{words}"


def cpu_name(cpuinfo: Path = _CPU_INFO) -> str:
    """Return the CPU's name with a digest of its instruction sets: code compiled for one may not run on another."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    instructions = facts.get("flags") or facts.get("Features") or ""
    name = facts.get("model name") or platform.machine()
    return f"{name} ({hashlib.sha256(instructions.encode()).hexdigest()[:12]})"


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
