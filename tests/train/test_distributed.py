"""Two processes learn what one does that sees the same pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.train.distributed import Crew, crew_of  # noqa: E402
from tests.train import two_processes  # noqa: E402


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path):
    two_processes.train(tmp_path)
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "tests.train.two_processes",
    ]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path)], capture_output=True, text=True, timeout=300,
        cwd=Path(__file__).parents[2], env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, first, second = (torch.load(tmp_path / f"{name}.pth") for name in ("1-0", "2-0", "2-1"))
    for name, value in one.items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(value, first[name], atol=1e-5)


def test_torchrun_says_who_is_who():
    assert crew_of({}) == Crew(0, 1, 0)
    assert crew_of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Crew(3, 4, 1)
    assert not Crew(3, 4, 1).leads
    assert Crew().largest([2.0, 0.0], torch.device("cpu")) == [2.0, 0.0]
