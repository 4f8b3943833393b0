"""The written record of a training: every step and epoch as a JSON line, epochs as a table, curves for TensorBoard."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamvision.errors import MissingError
from streamvision.train.checkpoint import At
from streamvision.train.reports import EpochDone, Stepped

LINES, TABLE = "metrics.jsonl", "metrics.csv"
_EVERY = 20
"""How many steps one line of the record stands for."""


class MetricsLog:
    """A `Reporter` that writes ``metrics.jsonl`` and ``metrics.csv``.

    ``since``: where the training goes on; what was recorded beyond that is taken back, since it comes again.
    """

    def __init__(self, folder: Path, since: At) -> None:
        self._folder = folder
        self._steps: list[Stepped] = []
        kept = [row for row in read_lines(folder / LINES) if _is_before(row, since)]
        replace_text(folder / LINES, "".join(json.dumps(row) + "\n" for row in kept))
        self._epochs = [row for row in kept if row["kind"] == "epoch"]

    def stepped(self, step: Stepped) -> None:
        """Record the mean of some steps."""
        self._steps.append(step)
        if step.step % _EVERY == 0:
            self._flush()

    def epoch_done(self, epoch: EpochDone) -> None:
        """Record an epoch, and write the table anew."""
        self._flush()
        row = {
            "kind": "epoch", "epoch": epoch.epoch, "step": epoch.step, "elapsed_s": round(epoch.elapsed_s, 1),
            "lr": epoch.lr, "loss": _sum(epoch.losses), **_named("loss", epoch.losses), **_named("val", epoch.figures),
            "best": epoch.best,
        }  # fmt: skip
        self._append(row)
        self._epochs.append(row)
        replace_text(self._folder / TABLE, _as_csv(self._epochs))

    def warned(self, text: str) -> None:
        """Record a warning."""
        self._append({"kind": "warning", "text": text, "step": self._steps[-1].step if self._steps else 0})

    def _flush(self) -> None:
        if not self._steps:
            return
        last, count = self._steps[-1], len(self._steps)
        names = dict.fromkeys(name for step in self._steps for name in step.losses)
        means = {name: sum(step.losses.get(name, 0.0) for step in self._steps) / count for name in names}
        self._append({
            "kind": "steps", "epoch": last.epoch, "step": last.step, "steps": count,
            "elapsed_s": round(last.elapsed_s, 1), "lr": last.lr, "norm": last.norm, "loss": _sum(means),
            **_named("loss", means),
        })  # fmt: skip
        self._steps = []

    def _append(self, row: Mapping[str, Any]) -> None:
        with (self._folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: _plain(value) for key, value in row.items()}) + "\n")


class Curves:
    """A `Reporter` that writes what TensorBoard shows. Raises `MissingError` without the package tensorboard."""

    def __init__(self, folder: Path, since: At) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingError(
                "tensorboard is not installed", remedy="pip install 'streamvision[train]', or set tensorboard: false"
            ) from error
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=since.step + 1)

    def stepped(self, step: Stepped) -> None:
        """Add a step's losses."""
        for name, value in {"loss": step.loss, **_named("loss", step.losses), "lr": step.lr, "norm": step.norm}.items():
            self._writer.add_scalar(f"train/{name}", value, step.step)

    def epoch_done(self, epoch: EpochDone) -> None:
        """Add an evaluation's figures."""
        for name, value in epoch.figures.items():
            self._writer.add_scalar(f"val/{name}", value, epoch.step)
        self._writer.flush()

    def warned(self, text: str) -> None:
        """Add a warning as text."""
        self._writer.add_text("warnings", text)

    def picture(self, name: str, rgb: Any, step: int) -> None:
        """Add a picture (h,w,3) uint8."""
        self._writer.add_image(name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a record; a last line that a kill cut short does not count."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _is_before(row: Mapping[str, Any], since: At) -> bool:
    if row["kind"] == "epoch":
        return bool(row["epoch"] < since.epoch)
    return bool(row["step"] <= since.step)


def _named(group: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in values.items()}


def _sum(losses: Mapping[str, float]) -> float:
    return sum(losses.values())


def _plain(value: Any) -> Any:
    """Return a number that JSON has, or None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_csv(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row if name != "kind"))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def replace_text(path: Path, text: str) -> None:
    """Write a text file in one piece: a reader finds the old one or the new."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
