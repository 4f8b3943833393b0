"""What the running systemd is told after its files have changed; nothing where it does not run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from streamvision.errors import MissingError
from streamvision.install.steps import Removal, Step
from streamvision.install.units import TEMPLATE, UNITS

RUNS = Path("/run/systemd/system")
"""Is there where systemd is the machine's init (sd_booted(3))."""
TIMEOUT_S = 120.0

Command = Sequence[str]


def before_removal(steps: Sequence[Step]) -> list[Command]:
    """Return the commands that stop what is about to go."""
    gone = {step.path.name for step in steps if isinstance(step, Removal)} - {TEMPLATE}
    units = sorted(name for name in gone if name.endswith((".service", ".target")))
    return [["systemctl", "stop", *units]] if units and RUNS.is_dir() else []


def after_change(steps: Sequence[Step], unit: str, *, now: bool) -> list[Command]:
    """Return the commands after which systemd knows the new files and, with ``now``, ``unit`` runs as they say."""
    if not RUNS.is_dir():
        return []
    changed = any(step.path.is_relative_to(UNITS) for step in steps)
    commands: list[Command] = [["systemctl", "daemon-reload"]] if changed else []
    if now and (changed or not _active(unit)):
        commands.append(["systemctl", "restart", unit])
    return commands


def run(command: Command) -> None:
    """Run a command. Raises `MissingError` with what it said when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{' '.join(command)}: {error}", remedy="is systemd at work here?") from error
    if done.returncode:
        remedy = "see journalctl -u 'streamvision*'"
        raise MissingError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}", remedy=remedy)


def _active(unit: str) -> bool:
    return subprocess.run(["systemctl", "is-active", "-q", unit], timeout=TIMEOUT_S, check=False).returncode == 0
