"""``streamvision train``: labelled pictures become a network that the daemon runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamvision.cli._training import first_of_all
from streamvision.errors import MissingError, UsageError

if TYPE_CHECKING:
    from streamvision.train.recipe import Recipe
    from streamvision.train.run import Outcome
    from streamvision.train.setting import Setting


RecipeName = Annotated[str | None, typer.Argument(help="A YAML file, or a name of configs/train.", show_default=False)]
Network = Annotated[str | None, typer.Option(help="A recipe of engines/recipes, or KIND:NETWORK.")]
Learnt = Annotated[list[str] | None, typer.Option(help="PATH or FORMAT:PATH@SPLIT to learn from; several are mixed.")]
Measured = Annotated[list[str] | None, typer.Option(help="What is measured on; a part of the data without it.")]
Weights = Annotated[str | None, typer.Option(help="DEFAULT, BACKBONE, a state file, none; the best there is without.")]
Size = Annotated[str | None, typer.Option(metavar="WxH", help="The network's input; its usual one without.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Decides order, augmentation and random weights.")]


def train(
    recipe: RecipeName = None,
    network: Network = None,
    data: Learnt = None,
    val: Measured = None,
    weights: Weights = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="How many times every picture is seen.")] = None,
    max_time: Annotated[str | None, typer.Option(help="The longest time, like 90m or 2h.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures at once, in each process.")] = None,
    size: Size = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate per step.")] = None,
    seed: Seed = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, fp16 or bf16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read pictures.")] = None,
    name: Annotated[str | None, typer.Option(help="What the trained model is called.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder. [default: runs/NAME]")] = None,
    resume: Annotated[Path | None, typer.Option(help="The folder of a run that shall go on.")] = None,
    check: Annotated[bool, typer.Option(help="Look at every picture before the training begins.")] = True,
) -> None:
    """Train a network on your own pictures, from published weights where there are any. Needs the extra `train`.

    Every flag takes the place of the recipe's key of that name. Ctrl-C keeps what was learnt, for --resume.

    Example: streamvision train --network sv-street --data my-coco --out runs/mine
    """
    sets = {key: value for key, value in (("train", data), ("val", val)) if value}
    given: dict[str, Any] = {
        "network": network, "data": sets or None, "weights": weights, "epochs": epochs, "max_time": max_time,
        "batch": batch, "size": size, "lr": lr, "seed": seed, "precision": precision, "device": device,
        "workers": workers, "name": name, "out": out and str(out),
    }  # fmt: skip
    changes = {key: value for key, value in given.items() if value is not None}
    _need_torch()
    if resume is not None:
        _resume(resume, recipe, changes)
        return
    _begin(recipe, changes, check=check)


def _begin(recipe: str | None, changes: dict[str, Any], *, check: bool) -> None:
    from streamvision.train import folder
    from streamvision.train.recipe import load, of_flags
    from streamvision.train.setting import prepare

    plan = of_flags(changes) if recipe is None else load(Path(recipe), changes)
    setting = prepare(plan)
    target = plan.out or Path("runs") / setting.name
    folder.claim(target)
    if check and first_of_all():
        _check(plan)
    _train(setting, target, resume=False)


def _need_torch() -> None:
    if find_spec("torch") is None:
        raise MissingError("training needs PyTorch, which is not installed", remedy="pip install 'streamvision[train]'")


def _resume(run: Path, recipe: str | None, changes: dict[str, Any]) -> None:
    from streamvision.train import folder
    from streamvision.train.recipe import load
    from streamvision.train.setting import prepare

    if recipe is not None or changes:
        raise UsageError(
            "a run goes on as it began", where=f"--resume {run}",
            remedy=f"leave away {recipe or '--' + next(iter(changes)).replace('_', '-')}, or begin a new run",
        )  # fmt: skip
    setting = prepare(load(folder.to_resume(run)))
    _train(setting, run, resume=(run / "last.pth").is_file())  # killed before its first step, a run begins anew


def _check(plan: Recipe) -> None:
    """Tell everything that is wrong with the data; end with 2 where it cannot be trained on."""
    from streamvision.cli._progress import count_bar
    from streamvision.cli.data import show
    from streamvision.dataset.checks import check

    with count_bar("checking pictures", None) as seen:
        report = check(plan.data.train, plan.data.val, seen)
    if len(report.findings):
        show(report)
    if not report.usable:
        raise typer.Exit(2)


def _train(setting: Setting, out: Path, *, resume: bool) -> None:
    from streamvision.cli._interrupt import ending
    from streamvision.cli._training import reporter
    from streamvision.train.run import train as run

    with reporter() as listener:
        outcome = run(setting, out, resume=resume, reporters=[listener], ending=ending, told=listener.tell)
    _report(outcome, out)


def _report(outcome: Outcome, out: Path) -> None:
    at = outcome.at
    if outcome.stopped:
        typer.echo(f"stopped in epoch {at.epoch + 1}, after {at.step} steps")
        typer.echo(f"next     streamvision train --resume {out}")
    elif outcome.manifest is not None:
        typer.echo(f"best     {at.best:.4f} in epoch {at.best_epoch + 1}" if at.best is not None else "best     none")
        typer.echo(f"took     {at.elapsed_s:.0f} s for {at.step} steps")
        typer.echo(f"weights  {out / 'best.pth'}")
        typer.echo(f"model    {outcome.manifest}")
        typer.echo(f"next     streamvision detect SOURCE --model {outcome.manifest}")
