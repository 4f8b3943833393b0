"""Network files on this machine: where they are looked for, and whether they are what the manifest says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from streamvision.engine import onnx_file
from streamvision.engine.folders import SEARCH_PATH, user_folders
from streamvision.engine.manifest import Manifest, ModelFile
from streamvision.errors import ManifestError, ModelMissing
from streamvision.resources import shipped


class FileState(StrEnum):
    """What is known of a model's file."""

    NOT_NEEDED = "not needed"
    PRESENT = "present"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Found:
    """Where a model's file is. ``sha256`` is the file's own, for a wrong one."""

    state: FileState
    path: Path | None = None
    sha256: str = ""


def folders(manifest: Manifest) -> list[Path]:
    """Return where a manifest's file is looked for, first choice first."""
    beside = [manifest.path.parent] if manifest.path else []
    return [*beside, *user_folders()]


def inspect(manifest: Manifest) -> Found:
    """Find a model's file and check its sha256; of several files, give the first that is not right.

    A right file anywhere wins over a wrong one.
    """
    all_found = [_look(manifest, file) for file in manifest.files]
    if not all_found:
        return Found(FileState.NOT_NEEDED)
    return next((found for found in all_found if found.state is not FileState.PRESENT), all_found[0])


def _look(manifest: Manifest, file: ModelFile) -> Found:
    wrong: Found | None = None
    for folder in folders(manifest):
        path = folder / file.name
        if not path.is_file():
            continue
        found = _judge(path, file)
        if found.state is FileState.PRESENT:
            return found
        wrong = wrong or found
    return wrong or Found(FileState.MISSING)


def require(manifest: Manifest, file: ModelFile | None = None) -> Path:
    """Return the path of a model's file, verified: the one that sees the picture, or another of its files.

    Raises `ModelMissing` where there is none, `ManifestError` where there is only another file of that name or the
    model has no file at all, `EngineError` for a file that no runtime should be given (`onnx_file.check`).
    """
    file = file or manifest.file
    if file is None:
        raise ManifestError(f"{manifest.kind} is no network and has no file", where=manifest.name)
    found = _look(manifest, file)
    if found.state is FileState.MISSING or found.path is None:
        raise ModelMissing(f"{file.name} is not on this machine", where=manifest.name, remedy=_how_to_get(manifest))
    if found.state is FileState.WRONG:
        raise ManifestError(
            f"{found.path} is another file: its sha256 is {found.sha256}, the manifest says {file.sha256}",
            where=manifest.name,
            remedy=f"remove it; {_how_to_get(manifest)}",
        )
    if onnx_file.check(found.path, found.sha256).external:
        raise ManifestError(
            f"{found.path} keeps its weights in another file, which no sha256 vouches for",
            where=manifest.name,
            remedy="make one file of both: streamvision models add does",
        )
    return found.path


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _judge(path: Path, file: ModelFile) -> Found:
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise ModelMissing(f"{path} cannot be read: {error.strerror}") from error
    state = FileState.PRESENT if digest == file.sha256 else FileState.WRONG
    return Found(state, path, digest)


def _how_to_get(manifest: Manifest) -> str:
    if manifest.file is not None and manifest.file.url is None:
        return f"put it beside its manifest or into a folder of ${SEARCH_PATH}"
    name = manifest.name if manifest.path is None else _name_on_the_command_line(manifest.path, manifest.name)
    return f"run: streamvision models pull {name}"


def _name_on_the_command_line(path: Path, name: str) -> str:
    return name if path.parent == shipped("engines") else str(path)
