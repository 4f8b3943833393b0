"""A network made smaller, measured beside what it was, and kept only if it is of use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamvision.compress.measure import Bar, Bench, Comparison, compare
from streamvision.compress.prune import Pruned
from streamvision.compress.source import Run, data_of, exported, is_run
from streamvision.compress.steps import Plan, Steps, after
from streamvision.compress.tune import Tuning
from streamvision.dataset import Dataset
from streamvision.engine import manifest as manifests
from streamvision.engine.manifest import Manifest
from streamvision.errors import UsageError


@dataclass(frozen=True, slots=True)
class Result:
    """``manifest``: of the new model, None where it was refused. ``pruned``: what each round removed."""

    comparison: Comparison
    manifest: Path | None
    pruned: tuple[Pruned, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for. ``data``: ``train`` and ``val`` as a recipe names them, None for the run's own."""

    source: str
    out: Path
    plan: Plan
    data: Mapping[str, Any] | None = None
    name: str | None = None
    backend: str = "auto"


@dataclass(frozen=True, slots=True)
class _Made:
    before: Manifest
    after: Path
    val: Dataset
    metric: str
    pruned: tuple[Pruned, ...] = ()


def compress(asked: Asked, tuning: Tuning, bar: Bar) -> Result:
    """Compress a run's network, or a model's, into the folder ``out``; nothing is there if it is worse on both.

    Raises `UsageError` for what does not go together, and what reading, training, exporting and building raise.
    """
    _check(asked)
    out = asked.out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        work = Path(folder)
        made = _of_run(asked, tuning, work) if is_run(Path(asked.source)) else _of_model(asked, tuning, work)
        tuning.told("measures the network before and after")
        bench = Bench(made.val, made.metric, asked.backend)
        comparison = compare(made.before, manifests.load(made.after), bench, bar)
        kept = None if comparison.worse_on_both else _settle(work, made.after, out)
    return Result(comparison, kept, made.pruned)


def _of_run(asked: Asked, tuning: Tuning, work: Path) -> _Made:
    run = Run.read(Path(asked.source), asked.data)
    before = exported(run.path)
    steps = Steps(run, asked.plan, tuning, work, asked.out, name=asked.name, data=asked.data)
    path = steps.make()
    return _Made(before, path, run.setting.val, run.setting.recipe.metric, tuple(steps.removed))


def _of_model(asked: Asked, tuning: Tuning, work: Path) -> _Made:
    before = manifests.load(asked.source)
    assert asked.data is not None
    learnt, val = data_of(asked.data["train"], asked.data.get("val"))
    name = asked.name or f"{before.name}-{asked.plan.ending}"
    return _Made(before, after(before, name, work / "model", learnt, tuning), val, "auto")


def _check(asked: Asked) -> None:
    out, source = asked.out, asked.source
    if not asked.plan.ending:
        raise UsageError("there is nothing to do", remedy="give --prune, --quantise or --teacher")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("there is something already", where=str(out), remedy="choose another --out")
    if is_run(Path(source)):
        return
    if asked.plan.learns:
        raise UsageError(
            "a model's file cannot learn", where=source,
            remedy="give the folder of the run that trained it, or --quantise after alone",
        )  # fmt: skip
    if asked.data is None:
        raise UsageError("what is it fitted to?", where=source, remedy="give --data")


def _settle(work: Path, path: Path, out: Path) -> Path:
    """Move what was made to its place; return the manifest's path there."""
    out.mkdir(exist_ok=True)
    for each in sorted(work.iterdir()):
        if not each.name.startswith("."):
            shutil.move(str(each), out / each.name)
    return out / path.relative_to(work)
