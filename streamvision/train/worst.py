"""The pictures that the best network gets most wrong, drawn by the same hand as the report of `streamvision eval`."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from streamvision.evaluate import Evaluator
from streamvision.evaluate.details import object_details
from streamvision.evaluate.report.blocks import Photo
from streamvision.evaluate.report.photos import map_photos, object_photos, whole_photos

FOLDER = "worst"


def write(evaluator: Evaluator, folder: Path, most: int) -> list[Path]:
    """Write at most so many pictures of each kind of mistake, with a line about each in ``pictures.txt``.

    Returns the pictures, the worst of each kind first; what an earlier call wrote is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths, lines = [], []
    for kind, photos in _photos(evaluator, most).items():
        for number, photo in enumerate(photos[:most], 1):
            path = folder / f"{kind}-{number:02}.jpg"
            path.write_bytes(base64.b64decode(photo.uri.partition(",")[2]))
            paths.append(path)
            lines.append(f"{path.name}  {photo.caption}\n")
    (folder / "pictures.txt").write_text("".join(lines), encoding="utf-8")
    return paths


def _photos(evaluator: Evaluator, most: int) -> dict[str, list[Photo]]:
    found: dict[str, list[Photo]] = {}
    objects = evaluator.objects
    if objects is not None:
        details = object_details(objects, objects.precision(), worst=most)
        found["objects"] = object_photos(details.mistakes, objects.matching.names)
    for book in evaluator.maps:
        found[book.model_name] = map_photos(evaluator, book)
    if evaluator.whole is not None:
        found["whole"] = whole_photos(evaluator, most)
    return found
