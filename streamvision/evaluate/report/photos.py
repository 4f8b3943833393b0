"""The worst pictures, with what was seen and what is there drawn into them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from streamvision.capture.picture import ArrayPicture
from streamvision.dataset import Example, label_map, rgb
from streamvision.draw import RGB, ink_on, put_label, text_px, to_jpeg
from streamvision.draw.label_maps import draw_label_maps, put_legend
from streamvision.draw.strokes import polyline, stroke_px
from streamvision.draw.text import label_wh
from streamvision.evaluate.details import Mistakes
from streamvision.evaluate.evaluator import Evaluator
from streamvision.evaluate.label_maps import MapBook
from streamvision.evaluate.pairing import NOBODY
from streamvision.evaluate.report.blocks import Photo
from streamvision.geometry import Letterbox
from streamvision.types import Float32, Segmentation, UInt8

_WIDTH = 640
_QUALITY = 72
RIGHT: RGB = (46, 184, 92)
FALSE: RGB = (232, 64, 64)
MISSED: RGB = (255, 176, 0)
EXCUSED: RGB = (160, 160, 160)
KEY = (("right", RIGHT), ("false, or of another class", FALSE), ("missed", MISSED), ("does not count", EXCUSED))
_OTHER = "other"


def object_photos(mistakes: Sequence[Mistakes], names: Sequence[str]) -> list[Photo]:
    """Return pictures with their right, false and missed objects."""
    return [
        Photo(_uri(_objects(one, names)), f"{one.picture.example.path.name}: {one.false} false, {one.missed} missed")
        for one in mistakes
    ]


def map_photos(evaluator: Evaluator, book: MapBook) -> list[Photo]:
    """Return pictures with the label map as it is on the left, as it was seen on the right, in the same colours."""
    photos = []
    names = (*book.matching.names, _OTHER)
    known, mapped = (book.table(side) for side in (book.matching.of_data, book.matching.of_model))
    for iou, place, seen in book.worst:
        example = book.pictures[place][0]
        truth = label_map(evaluator.dataset, example, book.data_name)
        size_wh = (truth.shape[1], truth.shape[0])
        halves = (
            Segmentation(book.data_name, known[truth], Letterbox.stretch(size_wh, size_wh), names),
            Segmentation(book.model_name, mapped[seen.label_map], seen.letterbox, names),
        )
        canvas, _ = _canvas(example)
        both = np.concatenate([_tinted(canvas.copy(), one) for one in halves], axis=1)
        photos.append(Photo(_uri(both), f"{example.path.name}: mean IoU {iou:.3f} (left: labelled, right: seen)"))
    return photos


def whole_photos(evaluator: Evaluator, worst: int = 8) -> list[Photo]:
    """Return the pictures whose wrong class was believed in most."""
    book = evaluator.whole
    if book is None:
        return []
    wrong = [
        (float(scores.max()), place) for place, (_, kind, scores) in enumerate(book.pictures) if scores.argmax() != kind
    ]
    photos = []
    for score, place in sorted(wrong, reverse=True)[:worst]:
        example, kind, scores = book.pictures[place]
        seen, there = book.matching.names[int(scores.argmax())], book.matching.names[kind]
        photos.append(Photo(_uri(_canvas(example)[0]), f"{example.path.name}: {seen} ({score:.2f}), but it is {there}"))
    return photos


def _canvas(example: Example) -> tuple[UInt8, float]:
    """Return a picture no wider than the page shows it, and its scale."""
    picture = ArrayPicture(rgb(example.path))
    scale = min(1.0, _WIDTH / picture.size_wh[0])
    width, height = (max(1, round(side * scale)) for side in picture.size_wh)
    return picture.rgb((width, height)), scale


def _objects(one: Mistakes, names: Sequence[str]) -> UInt8:
    canvas, scale = _canvas(one.picture.example)
    truth, found, pairing = one.picture.truth, one.found, one.pairing
    for index in np.flatnonzero((pairing.of_truth == NOBODY) & ~truth.ignore).tolist():
        _box(canvas, truth.xyxy[index] * scale, f"missed {names[truth.class_id[index]]}", MISSED)
    for index in np.argsort(found.score, kind="stable").tolist():
        of, kind = int(pairing.of_found[index]), int(found.class_id[index])
        right = of >= 0 and truth.class_id[of] == kind
        colour = RIGHT if right else FALSE if of >= NOBODY else EXCUSED
        _box(canvas, found.xyxy[index] * scale, f"{names[kind]} {found.score[index]:.2f}", colour)
    return canvas


def _box(canvas: UInt8, xyxy: Float32, words: str, colour: RGB) -> None:
    x1, y1, x2, y2 = xyxy.tolist()
    polyline(
        canvas, np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32), colour, stroke_px(canvas), closed=True
    )
    px = max(9, text_px((canvas.shape[1], canvas.shape[0])) * 3 // 4)  # crowds have little room for names
    above = round(y1) - label_wh(words, px)[1]
    put_label(canvas, words, (round(x1), above if above >= 0 else round(y1)), px, ink=ink_on(colour), fill=colour)


def _tinted(canvas: UInt8, found: Segmentation) -> UInt8:
    entries = draw_label_maps(canvas, [found])
    put_legend(canvas, entries, text_px((canvas.shape[1], canvas.shape[0])))
    return canvas


def _uri(canvas: UInt8) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(to_jpeg(canvas, _QUALITY)).decode("ascii")
