"""What a training shows while it runs: a bar on a terminal, one line per epoch everywhere else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from streamvision.train.reports import EpochDone, Stepped

_SHOWN = 6


class Screen:
    """A `Reporter` on the terminal. Only the first of several processes speaks."""

    def __init__(self, progress: Any | None, *, speaks: bool) -> None:
        self._progress, self._speaks = progress, speaks
        self._task = None if progress is None else progress.add_task("", total=1.0, start=False)
        self._first: tuple[float, float] | None = None

    def tell(self, text: str) -> None:
        """Show a line."""
        if not self._speaks:
            return
        if self._progress is not None:
            self._progress.console.print(text, highlight=False, markup=False)
        else:
            typer.echo(text)

    def stepped(self, step: Stepped) -> None:
        """Move the bar."""
        if self._progress is None:
            return
        if self._first is None:  # a training that goes on has not done in a second what it did before
            self._first = (step.progress, step.elapsed_s)
            self._progress.start_task(self._task)
        done, took = step.progress - self._first[0], step.elapsed_s - self._first[1]
        left = took / done * (1 - step.progress) if done > 0 else 0.0
        text = f"epoch {step.epoch + 1}  loss {step.loss:.4g}  lr {step.lr:.3g}"
        self._progress.update(self._task, completed=step.progress, description=text, left=span(left))

    def epoch_done(self, epoch: EpochDone) -> None:
        """Show an epoch's figures."""
        loss = sum(epoch.losses.values())
        figures = "  ".join(f"{name} {value:.4f}" for name, value in list(epoch.figures.items())[:_SHOWN])
        star = "  *" if epoch.best else ""
        self.tell(f"epoch {epoch.epoch + 1:>3}  {span(epoch.elapsed_s):>7}  loss {loss:.4f}  {figures}{star}".rstrip())

    def warned(self, text: str) -> None:
        """Show a warning."""
        if self._speaks:
            typer.secho(f"warning: {text}", err=True, fg="yellow")


def span(seconds: float) -> str:
    """Return a time as people say it: 42s, 3m07s, 2h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02}m"


def first_of_all() -> bool:
    """Tell whether this process is the first of those that torchrun started, or alone."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def reporter() -> Iterator[Screen]:
    """Give somebody to tell."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    speaks = first_of_all()
    console = Console(stderr=True)
    if not (speaks and console.is_terminal):
        yield Screen(None, speaks=speaks)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield Screen(progress, speaks=True)
