"""Where added models are kept: the pull folder, one manifest and one network file each."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from streamvision.engine import manifest as manifests
from streamvision.engine import onnx_file
from streamvision.engine.folders import pull_folder
from streamvision.engine.models import sha256_of
from streamvision.errors import EngineError, ManifestError, MissingError, UsageError


def check_free(name: str) -> None:
    """Raise `UsageError` for a name that is none, or that a model has already."""
    if not re.fullmatch(manifests.NAME, name) or len(name) > 100 or name == manifests.DEFAULT:
        raise UsageError(
            f"{name!r} is no name for a model", remedy="choose --name of small letters, digits, dots and dashes"
        )
    if name in manifests.names():
        raise UsageError(
            f"there is a model called {name!r} already",
            remedy=f"choose another --name, or first: streamvision models remove {name}",
        )


def add(document: Mapping[str, Any], network: Path, *, merge: bool) -> Path:
    """Keep a manifest and a copy of its network; return the manifest's path. Nothing is left of an attempt that fails.

    With ``merge`` the weights that lie beside the network come into its copy. Raises `UsageError` for a name that is
    taken, `EngineError` for a file that changes meanwhile, `MissingError` where nothing can be written.
    """
    folder = pull_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _scratch(folder) as scratch:
            return _place(dict(document), network, folder, scratch, merge)
    except OSError as error:
        raise MissingError(
            f"{folder} cannot be written: {error.strerror or error}", remedy="free some space, or set XDG_CACHE_HOME"
        ) from error


def remove(name: str) -> list[Path]:
    """Delete a model that was added; return the files that are gone.

    Raises `UsageError` for one that ships with the program or lies in a folder of the user's own.
    """
    path = manifests.locate(name) if name in manifests.names() else _unreadable(name)
    if path.parent != pull_folder():
        raise UsageError(
            f"{name!r} was not added: its manifest is {path}", remedy="only what `models add` made can be removed"
        )
    gone = [path]
    with contextlib.suppress(ManifestError):  # one that cannot be read has no file that we could know
        file = manifests.load(path).file
        if file is not None and file.name.startswith(f"{name}."):
            gone.append(path.with_name(file.name))
    for each in gone:
        each.unlink(missing_ok=True)
    return gone


def _unreadable(name: str) -> Path:
    path = pull_folder() / f"{name}.yaml"
    if "/" in name or not path.is_file():
        return manifests.locate(name)
    return path


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Give a folder beside the final place, gone afterwards, so that a rename is all that is left to do."""
    with tempfile.TemporaryDirectory(prefix=".add-", dir=folder) as scratch:
        yield Path(scratch)


def _place(document: dict[str, Any], network: Path, folder: Path, scratch: Path, merge: bool) -> Path:
    name = document["name"]
    copy = scratch / "network.onnx"
    if merge:
        _merge(network, copy)
        sha256 = sha256_of(copy)
        document["file"] = {"name": f"{name}.{sha256[:8]}.onnx", "sha256": sha256}
        onnx_file.check(copy)
    else:
        shutil.copyfile(network, copy)
        if sha256_of(copy) != document["file"]["sha256"]:
            raise EngineError("the file changed while it was looked at", where=str(network), remedy="try again")
    text = scratch / "manifest.yaml"
    with text.open("w", encoding="utf-8") as out:
        YAML().dump(document, out)
    manifests.load(text)
    target = folder / f"{name}.yaml"
    file = folder / document["file"]["name"]
    ours = not file.exists()
    os.replace(copy, file)
    try:
        os.link(text, target)  # unlike a rename it never takes the place of another's
    except OSError as error:
        if ours:
            file.unlink()
        if not isinstance(error, FileExistsError):
            raise
        raise UsageError(f"there is a model called {name!r} already", remedy="choose another --name") from error
    return target


def _merge(network: Path, copy: Path) -> None:
    """Write network and weights into one file."""
    import onnx

    try:
        onnx.save(onnx.load(network), copy)
    except ValueError as error:  # a protocol buffer ends at two gigabytes
        raise UsageError(
            f"network and weights are too large for one file: {error}", where=str(network),
            remedy="export it in half precision",
        ) from error  # fmt: skip
