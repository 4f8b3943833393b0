"""Folders of classes: ``CLASS/picture.jpg``, or ``SPLIT/CLASS/picture.jpg``; the folder's name is the class's."""

from __future__ import annotations

from pathlib import Path

import streamvision.dataset.findings as kinds
from streamvision.dataset.findings import Findings
from streamvision.dataset.formats.files import PICTURES, pictures_in
from streamvision.dataset.options import DataOptions
from streamvision.dataset.values import Dataset, Example
from streamvision.header import read_header

_SPLITS = ("train", "training", "val", "valid", "validation", "test")


def recognised(path: Path) -> bool:
    """Tell whether a folder holds at least two folders, all of them of pictures, or splits of such."""
    folders = _folders(path)
    splits = [one for one in folders if one.name in _SPLITS]
    inner = splits or [path]
    return bool(folders) and all(_has_classes(one) for one in inner)


def read(options: DataOptions, findings: Findings) -> Dataset:
    """Return the set."""
    root = options.images or options.path
    splits = [one.name for one in _folders(root) if one.name in _SPLITS]
    if options.split is not None or splits:
        split = options.split or "train"
        if not (root / split).is_dir():
            findings.add(kinds.MISSING_SPLIT, root / split, f"there are: {', '.join(splits) or 'none'}")
            return Dataset(str(options.path), (), ())
        root = root / split
    folders = _folders(root)
    names = options.names or tuple(one.name for one in folders)
    index = {name: number for number, name in enumerate(names)}
    examples = []
    for folder in folders:
        if folder.name not in index:
            findings.add(kinds.UNKNOWN_CLASS, folder, f"there is no class {folder.name!r}")
            continue
        for picture in pictures_in(folder):
            header = read_header(picture)
            size_wh = (1, 1) if header is None else header.size_wh
            examples.append(Example(picture, size_wh, label=index[folder.name]))
    return Dataset(str(options.path), names, tuple(examples))


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def _has_classes(path: Path) -> bool:
    folders = _folders(path)
    return len(folders) >= 2 and all(_has_picture(one) for one in folders)


def _has_picture(folder: Path) -> bool:
    return any(one.suffix.lower() in PICTURES for one in folder.iterdir())
