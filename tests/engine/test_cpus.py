from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamvision.engine.backends.cpus import usable_cpus


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def groups(folder: Path, limits: dict[str, str], own: str) -> tuple[Path, Path]:
    root = folder / "cgroup"
    for path, limit in limits.items():
        (root / path).mkdir(parents=True, exist_ok=True)
        (root / path / "cpu.max").write_text(limit)
    (folder / "own").write_text(own)
    return root, folder / "own"


@pytest.mark.parametrize(
    ("limits", "own", "expected"),
    [
        ({}, "0::/\n", 8),
        ({"": "200000 100000\n"}, "0::/\n", 2),
        ({"a/b": "max 100000\n"}, "0::/a/b\n", 8),
        ({"a/b": "250000 100000\n"}, "0::/a/b\n", 3),
        ({"a": "100000 100000\n", "a/b": "max 100000\n"}, "0::/a/b\n", 1),
        ({"a": "50000 100000\n"}, "0::/a\n", 1),
        ({"other": "100000 100000\n"}, "0::/a\n", 8),
        ({"a": "9900000 100000\n"}, "0::/a\n", 8),
        ({"a": "rubbish"}, "0::/a\n", 8),
        ({"a": "100000 100000"}, "4:memory:/x\n", 8),
    ],
)
@pytest.mark.usefixtures("eight_cpus")
def test_a_control_group_may_grant_less(tmp_path: Path, limits: dict[str, str], own: str, expected: int) -> None:
    assert usable_cpus(*groups(tmp_path, limits, own)) == expected


@pytest.mark.usefixtures("eight_cpus")
def test_without_control_groups_the_mask_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "none", tmp_path / "none") == 8


def test_the_mask_of_this_process_is_respected() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
