"""Label pictures: one class index per pixel, beside the pictures or in a folder that mirrors theirs.

Known layouts: ``train`` + ``trainannot`` (CamVid by way of SegNet), ``leftImg8bit`` + ``gtFine`` (Cityscapes, IDD),
``NAME.jpg`` + ``NAME_label.png`` (IDD lite), ``JPEGImages`` + ``SegmentationClass`` (PASCAL VOC), ``images`` +
``masks`` (or ``annotations``, ``labels``); any other by the options ``images`` and ``labels``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import streamvision.dataset.findings as kinds
from streamvision.dataset.findings import Findings
from streamvision.dataset.formats.files import inside, pictures_in, read_text
from streamvision.dataset.formats.known_labels import KNOWN
from streamvision.dataset.options import DataOptions
from streamvision.dataset.values import UNKNOWN, UNLABELLED, Dataset, Example
from streamvision.errors import UsageError
from streamvision.header import read_header

_MASKS = ("masks", "annotations", "labels")
_NAME_FILES = ("classes.txt", "labels.txt", "names.txt")
_CITYSCAPES_SUFFIXES = ("_labelTrainIds", "_labelIds", "_labellevel3Ids")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where pictures and label pictures lie, and whose indices these are, if that is known."""

    pictures: list[Path]
    labels: Mapping[Path, Path | None]
    known: str | None = None


def recognised(path: Path) -> bool:
    """Tell whether a folder has a layout of label pictures."""
    if not path.is_dir():
        return False
    return (
        _annotated_sibling(path) is not None
        or any(_annotated_sibling(one) is not None for one in _folders(path))
        or all((path / name).is_dir() for name in ("leftImg8bit", "gtFine"))
        or _has_neighbours(path)
        or any(_has_neighbours(one) for one in _folders(path))
        or ((path / "images").is_dir() and any(_has_masks(path / name) for name in _MASKS))
    )


def read(options: DataOptions, findings: Findings) -> Dataset:
    """Return the set. Raises `UsageError` where nobody says what the indices mean, or which split is wanted."""
    layout = _layout(options, findings)
    names, table = _meaning(options, layout.known, findings)
    examples = []
    for picture in layout.pictures:
        label = layout.labels.get(picture)
        header = read_header(picture)
        if label is None:
            findings.add(kinds.MISSING_LABELS, picture, "there is no label picture of its name")
        maps = {} if label is None else {options.map_name: label}
        examples.append(Example(picture, (1, 1) if header is None else header.size_wh, label_maps=maps))
    return Dataset(
        str(options.path),
        (),
        tuple(examples),
        {options.map_name: names},
        {} if table is None else {options.map_name: table},
    )


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir())


def _annotated_sibling(folder: Path) -> Path | None:
    sibling = folder.with_name(f"{folder.name}annot")
    return sibling if folder.is_dir() and sibling.is_dir() else None


def _has_neighbours(folder: Path) -> bool:
    return next(folder.glob("*_label.png"), None) is not None


def _has_masks(folder: Path) -> bool:
    return folder.is_dir() and next(folder.rglob("*.png"), None) is not None


def _layout(options: DataOptions, findings: Findings) -> _Layout:
    path, split = options.path, options.split
    if options.images is not None and options.labels is not None:
        return _mirrored(options.images, options.labels)
    if (path / "leftImg8bit").is_dir():
        return _cityscapes(path, _split_of(path / "leftImg8bit", split))
    if (path / "SegmentationClass").is_dir():
        return _voc(path, split or "train", findings)
    if (path / "images").is_dir():
        masks = next((path / name for name in _MASKS if _has_masks(path / name)), path / _MASKS[0])
        part = _split_of(path / "images", split) if _folders(path / "images") else ""
        return _mirrored(path / "images" / part, masks / part)
    folder = path / split if split else path
    if not folder.is_dir():
        raise UsageError("there is no such split", where=str(folder), remedy=_which(path))
    annotated = _annotated_sibling(folder)
    if annotated is not None:
        known = "camvid" if options.labels is None else None
        return _mirrored(folder, annotated, known)
    if _has_neighbours(folder):
        return _neighbours(folder)
    raise UsageError("which split is meant?", where=str(path), remedy=_which(path))


def _which(path: Path) -> str:
    names = [one.name for one in _folders(path)] if path.is_dir() else []
    return f"give PATH@SPLIT, one of: {', '.join(names) or 'none is there'}"


def _split_of(folder: Path, split: str | None) -> str:
    names = [one.name for one in _folders(folder)]
    if split is None and len(names) == 1:
        return names[0]
    if split not in names:
        raise UsageError(
            "which split is meant?" if split is None else f"there is no split {split!r}", where=str(folder),
            remedy=f"give PATH@SPLIT, one of: {', '.join(names) or 'none is there'}",
        )  # fmt: skip
    return split


def _mirrored(images: Path, labels: Path, known: str | None = None) -> _Layout:
    """Pair ``a/NAME.jpg`` with ``a/NAME.png`` or ``a/NAME_anything.png`` of the other folder."""
    files = {path.relative_to(labels).with_suffix("").as_posix(): path for path in pictures_in(labels)}
    longer = {name.rpartition("_")[0]: path for name, path in files.items() if "_" in Path(name).name}
    pictures = pictures_in(images)
    pairs: dict[Path, Path | None] = {}
    for picture in pictures:
        name = picture.relative_to(images).with_suffix("").as_posix()
        pairs[picture] = files.get(name) or longer.get(name)
    return _Layout(pictures, pairs, known)


def _neighbours(folder: Path) -> _Layout:
    found = pictures_in(folder)
    labels = {path.with_name(path.stem.removesuffix("_label")): path for path in found if path.stem.endswith("_label")}
    pictures = [path for path in found if not path.stem.endswith(("_label", "_inst_label"))]
    return _Layout(pictures, {path: labels.get(path.with_suffix("")) for path in pictures}, "idd-lite")


def _cityscapes(path: Path, split: str) -> _Layout:
    images, labels = path / "leftImg8bit" / split, path / "gtFine" / split
    pictures = pictures_in(images)
    suffix = next(
        (one for one in _CITYSCAPES_SUFFIXES if next(labels.rglob(f"*{one}.png"), None)), _CITYSCAPES_SUFFIXES[0]
    )
    pairs: dict[Path, Path | None] = {}
    for picture in pictures:
        name = picture.stem.removesuffix("_leftImg8bit")
        label = labels / picture.parent.relative_to(images) / f"{name}_gtFine{suffix}.png"
        pairs[picture] = label if label.is_file() else None
    known = {"_labelTrainIds": "cityscapes", "_labelIds": "cityscapes-ids"}.get(suffix)
    return _Layout(pictures, pairs, known)


def _voc(path: Path, split: str, findings: Findings) -> _Layout:
    listed = read_text(path / "ImageSets" / "Segmentation" / f"{split}.txt", findings) or ""
    pairs: dict[Path, Path | None] = {}
    for number, line in enumerate(listed.splitlines(), 1):
        name = line.strip()
        picture, label = inside(path / "JPEGImages", f"{name}.jpg"), inside(path / "SegmentationClass", f"{name}.png")
        if picture is None or label is None:
            findings.add(kinds.ESCAPING_PATH, f"{split}.txt:{number}", f"{name!r} does not lie in {path}")
        elif name:
            pairs[picture] = label
    return _Layout(list(pairs), pairs, "voc")


def _meaning(
    options: DataOptions, known: str | None, findings: Findings
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Return the names of the classes, and the class of each index in the files where these differ."""
    names, ignore, mapping = options.names, options.ignore, options.mapping
    if names is None:
        names = _listed_names(options.path, findings)
    elif len(names) == 1 and names[0] in KNOWN:
        known, names = names[0], None
    if names is None and known is not None:
        names = KNOWN[known].names
        ignore = ignore or KNOWN[known].ignore
        mapping = KNOWN[known].mapping if mapping is None else mapping
    if names is None:
        raise UsageError(
            "nobody says what the indices of the label pictures mean", where=str(options.path),
            remedy=f"give names (or one of {', '.join(KNOWN)}), or put a classes.txt there",
        )  # fmt: skip
    if not ignore and not mapping:
        return names, None
    table = list(range(256)) if not mapping else [mapping.get(index, UNKNOWN) for index in range(255)] + [UNLABELLED]
    return names, tuple(UNLABELLED if index in ignore else value for index, value in enumerate(table))


def _listed_names(path: Path, findings: Findings) -> tuple[str, ...] | None:
    for folder in (path, path.parent):
        for name in _NAME_FILES:
            if (folder / name).is_file():
                lines = (read_text(folder / name, findings) or "").splitlines()
                return tuple(line.strip() for line in lines if line.strip())
    return None
