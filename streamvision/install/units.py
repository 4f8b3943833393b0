"""Which files, folders and links make the service, from what was chosen; all below a root that need not be /."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from streamvision.install.steps import Folder, Link, Removal, Step, Text
from streamvision.resources import shipped

UNITS: Final = Path("/etc/systemd/system")
CONFIG: Final = Path("/etc/streamvision/config.yaml")
CREDENTIALS: Final = Path("/etc/streamvision/credentials")
STATE: Final = Path("/var/lib/streamvision")

SERVICE: Final = "streamvision.service"
TEMPLATE: Final = "streamvision@.service"
TARGET: Final = "streamvision.target"

_HIDDEN: Final = ("/home", "/root", "/run/user")
"""What ProtectHome=yes hides from a service."""
_INSTANCE = re.compile(r"streamvision@\d+-\d+\.service")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be installed.

    ``program`` is how this installation is called; ``config`` a configuration's text, used only where there is none
    yet; ``shards`` into how many processes the streams are divided, 0 for one service without shards; ``user`` whom it
    runs as, None for one that systemd makes.
    """

    program: tuple[str, ...]
    config: str
    shards: int = 0
    user: str | None = None
    extras: tuple[str, ...] = ()


def installation(choice: Choice, root: Path) -> list[Step]:
    """Return every step that puts the service in place, in order; what another choice left behind goes."""
    unit, others = (TEMPLATE, [SERVICE]) if choice.shards else (SERVICE, [TEMPLATE, TARGET])
    folder = below(root, UNITS)
    steps: list[Step] = [
        Folder(below(root, CREDENTIALS), 0o700),
        Text(below(root, CONFIG), choice.config, keep=True),
        Text(folder / unit, rendered(_shipped(unit), choice)),
    ]
    if choice.shards:
        steps.append(Text(folder / TARGET, _shipped(TARGET)))
    steps += [Text(folder / f"{unit}.d" / f"{name}.conf", _extra(name)) for name in choice.extras]
    wanted = [Link(folder / path, str(UNITS / target)) for path, target in _links(choice.shards)]
    gone = [Removal(folder / other) for other in others]
    gone += [Removal(link) for link in _present_links(folder) if link not in {one.path for one in wanted}]
    return [*steps, *wanted, *gone]


def removal(root: Path) -> list[Step]:
    """Return the steps that take the service away; configuration, state and somebody's own drop-ins stay."""
    folder = below(root, UNITS)
    steps: list[Step] = [Removal(link) for link in _present_links(folder)]
    steps += [Removal(folder / name) for name in (SERVICE, TEMPLATE, TARGET)]
    for unit in (SERVICE, TEMPLATE):
        paths = {name: folder / f"{unit}.d" / f"{name}.conf" for name in drop_ins()}
        steps += [Removal(path) for name, path in paths.items() if _is(path, _extra(name))]
    return steps


def units_of(shards: int) -> list[str]:
    """Return what is started and stopped."""
    return [f"streamvision@{index}-{shards}.service" for index in range(1, shards + 1)] or [SERVICE]


def drop_ins() -> list[str]:
    """Return the names of the shipped drop-ins."""
    return sorted(path.stem for path in (shipped("systemd") / "streamvision.service.d").glob("*.conf"))


def rendered(unit: str, choice: Choice) -> str:
    """Return a shipped unit with this installation's program, and the chosen user."""
    command = " ".join(quoted(word) for word in choice.program)
    unit = unit.replace("/opt/streamvision/bin/streamvision", command)
    if out_of_sight(choice.program):
        unit = unit.replace("ProtectHome=yes", "ProtectHome=read-only")
    if choice.user is not None:
        unit = unit.replace("DynamicUser=yes", "DynamicUser=no").replace("User=streamvision", f"User={choice.user}")
    return unit


def quoted(word: str) -> str:
    """Return a word of a command line as systemd reads it (systemd.service(5), "Command lines")."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{word}"' if re.search(r"[\s\"';]", word) else word


def out_of_sight(program: Sequence[str]) -> bool:
    """Whether a program lies where services do not see it: in somebody's home."""
    return any(PurePath(program[0]).is_relative_to(hidden) for hidden in _HIDDEN)


def below(root: Path, path: Path) -> Path:
    """Return an absolute path as it is seen from outside ``root``."""
    return root / path.relative_to("/")


def _links(shards: int) -> list[tuple[Path, str]]:
    """Return the links, by path in the units' folder and target, that ``systemctl enable`` would make."""
    if not shards:
        return [(Path("multi-user.target.wants") / SERVICE, SERVICE)]
    shard_links = [(Path(f"{TARGET}.wants") / unit, TEMPLATE) for unit in units_of(shards)]
    return [(Path("multi-user.target.wants") / TARGET, TARGET), *shard_links]


def _present_links(folder: Path) -> list[Path]:
    own = [folder / "multi-user.target.wants" / name for name in (SERVICE, TARGET)]
    shards = sorted((folder / f"{TARGET}.wants").glob("streamvision@*.service"))
    return [*(link for link in own if link.is_symlink()), *(one for one in shards if _INSTANCE.fullmatch(one.name))]


def _shipped(name: str) -> str:
    return (shipped("systemd") / name).read_text(encoding="utf-8")


def _extra(name: str) -> str:
    return _shipped(f"streamvision.service.d/{name}.conf")


def _is(path: Path, content: str) -> bool:
    return path.is_file() and path.read_bytes() == content.encode()
