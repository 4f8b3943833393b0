"""``streamvision install-service``: unit files for this installation, in place, enabled and started."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.errors import MissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvision.install import Choice, Step


def install_service(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A configuration to begin with; an existing one stays.")
    ] = None,
    shards: Annotated[
        int, typer.Option("--shards", min=0, max=1024, help="Divide the streams among so many processes.")
    ] = 0,
    user: Annotated[
        str | None, typer.Option("--user", help="Run as this user; by default as one that systemd makes.")
    ] = None,
    drop_in: Annotated[
        list[str] | None, typer.Option("--drop-in", help="Also what some machines need: v4l2, nvidia, intel-gpu ...")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Start it, or restart it if a unit changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done, as a patch.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take the service away; files of yours stay.")] = False,
    root: Annotated[
        Path, typer.Option("--root", help="The file system to install into, for images; nothing is started.")
    ] = Path("/"),
) -> None:
    """Run streamvision as a systemd service, now and after every boot. Doing it twice changes nothing.

    Example: sudo streamvision install-service --config config.yaml --drop-in nvidia --now
    """
    from streamvision.install import SERVICE, TARGET, installation, removal
    from streamvision.install.manager import after_change, before_removal

    root = root.absolute()
    choice = _choice(config, shards, user, tuple(drop_in or ()), root)
    steps = [step for step in (removal(root) if uninstall else installation(choice, root)) if step.needed]
    here = root == Path("/")
    first = before_removal(steps) if here and (uninstall or now) else []
    last = after_change(steps, TARGET if shards else SERVICE, now=now and not uninstall) if here else []
    _tell(choice, config, root, uninstall=uninstall)
    if not steps and not last:
        typer.echo("nothing to change: the service is " + ("not installed" if uninstall else "in place"))
        return
    if dry_run:
        _show(steps, first, last)
        return
    _refuse_without_rights(root)
    _run(first)
    _take(steps)
    _run(last)


def _choice(config: Path | None, shards: int, user: str | None, extras: tuple[str, ...], root: Path) -> Choice:
    from streamvision.install import Choice, drop_ins
    from streamvision.resources import shipped

    unknown = [name for name in extras if name not in drop_ins()]
    if unknown:
        raise UsageError(
            f"there is no drop-in {unknown[0]!r}", where="--drop-in", remedy=f"one of {', '.join(drop_ins())}"
        )
    if user is not None and root == Path("/"):
        _known(user)
    path = config or shipped("systemd") / "config.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path), remedy="give a YAML file") from error
    return Choice(_program(), text, shards, user, extras)


def _known(user: str) -> None:
    import pwd

    try:
        pwd.getpwnam(user)
    except (KeyError, ValueError) as error:
        remedy = f"useradd --system {user}, or leave --user out"
        raise MissingError(f"there is no user {user!r}", where="--user", remedy=remedy) from error


def _program() -> tuple[str, ...]:
    """Return how this installation is called: the script beside its interpreter, else the interpreter itself."""
    script = Path(sys.executable).with_name("streamvision")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "streamvision")


def _tell(choice: Choice, config: Path | None, root: Path, *, uninstall: bool) -> None:
    """Warn of what would keep the service from working."""
    from streamvision.config import state_dir_of
    from streamvision.install import CONFIG, STATE, below, out_of_sight

    if uninstall:
        return
    if out_of_sight(choice.program):
        _warn(f"{choice.program[0]} lies in a home folder: the service's user must be able to read it")
    if config is not None:
        state = state_dir_of(config, env={**os.environ, "STATE_DIRECTORY": str(STATE)})
        if not state.is_relative_to(STATE):
            _warn(f"{config} names its own state_dir, but the service writes only below {STATE}; leave state_dir out")
        there = below(root, CONFIG)
        if there.exists():
            if not there.samefile(config) and there.read_bytes() != choice.config.encode():
                _warn(f"{there} is there already and stays as it is; {config} is not used")
        elif not config.stat().st_mode & stat.S_IROTH:
            remedy = "what is secret in it belongs into /etc/streamvision/credentials, and ${NAME} into the file"
            _warn(f"not everybody can read {config}, but everybody can read its copy {there}: {remedy}")


def _warn(text: str) -> None:
    typer.secho(f"warning: {text}", err=True, fg="yellow")


def _refuse_without_rights(root: Path) -> None:
    if root != Path("/"):
        return
    if os.geteuid() != 0:
        raise MissingError("only root can install a service", remedy="sudo streamvision install-service ...")
    if not Path("/etc/systemd").is_dir():
        remedy = "run `streamvision run CONFIG` under this machine's own service manager, or give --root"
        raise MissingError("there is no systemd on this machine", where="/etc/systemd", remedy=remedy)


def _show(steps: Sequence[Step], first: Sequence[Sequence[str]], last: Sequence[Sequence[str]]) -> None:
    for command in first:
        typer.echo(f"run {' '.join(command)}")
    for step in steps:
        for line in step.show():
            typer.echo(line)
    for command in last:
        typer.echo(f"run {' '.join(command)}")


def _take(steps: Sequence[Step]) -> None:
    for step in steps:
        said = [line for line in step.show() if not line.startswith(("@@", " ", "+", "-"))]
        try:
            step.take()
        except PermissionError as error:
            raise MissingError(f"{error.strerror}", where=str(error.filename), remedy="use sudo") from error
        typer.echo(said[0] if said else f"write {step.path}")


def _run(commands: Sequence[Sequence[str]]) -> None:
    from streamvision.install.manager import run

    for command in commands:
        typer.echo(f"run {' '.join(command)}")
        run(command)
