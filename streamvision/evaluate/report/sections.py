"""A study, and perhaps a second one beside it, as the sections of a report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import streamvision.evaluate.report.charts as charts
import streamvision.evaluate.report.photos as photos
from streamvision.evaluate.calibration import MIN_SCORE, Calibration
from streamvision.evaluate.report.blocks import Cell, Chart, Section, Table, Tile, label, number, signed, text_of
from streamvision.evaluate.report.confusions import confusion_section
from streamvision.evaluate.robustness import Robustness
from streamvision.evaluate.study import Study
from streamvision.evaluate.summary import class_rows

_TILES = {
    "AP": "COCO's average precision of boxes, over overlaps from 0.5 to 0.95",
    "AP50": "average precision at an overlap of 0.5", "mask_AP": "COCO's average precision of masks",
    "mIoU": "mean intersection over union", "pixel_accuracy": "pixels of known classes that were seen right",
    "top1": "pictures whose class was the first answer", "top5": "pictures whose class was among the first five",
}  # fmt: skip


def tiles(study: Study, other: Study | None) -> list[Tile]:
    """Return the large figures at the top."""
    theirs = {} if other is None else other.figures
    found = [
        Tile(name, text_of(value), _TILES[name], text_of(theirs[name]) if name in theirs else "")
        for name, value in study.figures.items()
        if name in _TILES
    ]
    if study.speed is not None:
        beside = "" if other is None or other.speed is None else text_of(other.speed.pictures_per_s, 1)
        hint = "the engine alone, on this machine"
        found.append(Tile("pictures per second", text_of(study.speed.pictures_per_s, 1), hint, beside))
    return found


def sections(study: Study, other: Study | None) -> Iterator[Section]:
    """Yield the parts for which there is something to say."""
    yield Section("figures", "Figures", tables=[_figures(study, other)])
    if study.evaluator.objects is not None:
        yield _by_class(study, other)
    yield from _maps(study, other)
    if study.evaluation.whole is not None:
        whole = study.evaluation.whole
        rows = [
            [label(name), number(recall, bar=True)] for name, recall in zip(whole.names, whole.recalls, strict=True)
        ]
        yield Section("classes", "By class", tables=[Table(("class", "recognised"), rows)])
    yield from confusion_section(study)
    yield from _calibrations(study)
    yield from _groups(study)
    yield from _robustness(study, other)
    yield from _speed(study, other)
    yield from _worst(study)


def _figures(study: Study, other: Study | None) -> Table:
    theirs = {} if other is None else other.figures
    rows = []
    for name, value in study.figures.items():
        row = [label(name), number(value, bar=True)]
        if other is not None:
            apart = value - theirs[name] if name in theirs else None
            row += [number(theirs.get(name), bar=True), signed(apart, less_is_better=name.endswith("ECE"))]
        rows.append(row)
    return Table(_heads(["figure", study.model], other), rows)


def _heads(heads: list[str], other: Study | None) -> list[str]:
    return heads if other is None else [*heads, other.model, "difference"]


def _by_class(study: Study, other: Study | None) -> Section:
    """Return the table by class and the curves of the most frequent ones."""
    rows = [row for row in class_rows(study) if row["objects"]]
    theirs = {row["class"]: row["AP50"] for row in (class_rows(other) if other is not None else [])}
    head = [name for name in (rows[0] if rows else {}) if name not in ("class", "objects", "AP50")]
    table = []
    for row in sorted(rows, key=lambda row: -row["objects"]):
        cells = [label(row["class"]), number(row["objects"]), number(row["AP50"], bar=True)]
        if other is not None:
            cells += _beside(row["AP50"], theirs.get(row["class"]))
        table.append([*cells, *(number(row[name]) for name in head)])
    second = [] if other is None else [f"AP50, {other.model}", "difference"]
    heads = ["class", "objects", "AP50", *second, *head]
    note = (
        "F1 is the balance of precision and recall at an overlap of 0.5; the threshold is the score from which on it "
        "is best. Classes without an object in the data are left out."
    )
    return Section("classes", "By class", note, [Table(heads, table)], list(_curves(study, other)))


def _curves(study: Study, other: Study | None) -> Iterator[Chart]:
    boxes, book = study.evaluation.boxes, study.evaluator.objects
    if boxes is None or book is None or not boxes.judged.truths.any():
        return
    recall = np.linspace(0, 1, 101).tolist()
    order = np.argsort(-boxes.judged.truths, kind="stable")[: charts.COLOURS]
    frequent = [int(kind) for kind in order if boxes.judged.truths[kind]]
    series = [
        charts.Series(book.matching.names[kind], f"s{index}", recall, boxes.curves[kind].tolist())
        for index, kind in enumerate(frequent)
    ]
    series.append(charts.Series("mean of all classes", "mean", recall, _mean(boxes.curves)))
    if other is not None and other.evaluation.boxes is not None:
        series.append(charts.Series(f"mean, {other.model}", "second", recall, _mean(other.evaluation.boxes.curves)))
    note = "" if len(frequent) == int((boxes.judged.truths > 0).sum()) else "The most frequent classes, and the mean."
    title = "Precision and recall at an overlap of 0.5"
    yield Chart(
        charts.lines(charts.shares("recall", "precision"), series, title), title,
        [(one.name, one.style) for one in series], note,
    )  # fmt: skip


def _mean(curves: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    known = curves[np.isfinite(curves).all(axis=1)]
    return [float(value) for value in known.mean(0)] if len(known) else []


def _maps(study: Study, other: Study | None) -> Iterator[Section]:
    tables = []
    for name, one in study.evaluation.maps.items():
        second = None if other is None else other.evaluation.maps.get(name)
        theirs = {} if second is None else dict(zip(second.names, second.ious.tolist(), strict=True))
        there = one.confusion.sum(1)
        total = max(1, int(there.sum()))
        rows = []
        for index, (kind, iou) in enumerate(zip(one.names, one.ious.tolist(), strict=True)):
            cells = [label(kind), number(100 * int(there[index]) / total, digits=1), number(iou, bar=True)]
            rows.append(cells if second is None else [*cells, *_beside(iou, theirs.get(kind))])
        mean = [label("mean"), number(None), number(one.miou, bar=True)]
        rows.append(mean if second is None else [*mean, *_beside(one.miou, second.miou)])
        note = f"{text_of(one.pixel_accuracy)} of the pixels of these classes were seen right."
        more = [] if second is None or other is None else [f"IoU, {other.model}", "difference"]
        tables.append(Table(("class", "% of pixels", "IoU", *more), rows, f"Label map {name}", note))
    if tables:
        yield Section("maps", "Label maps", tables=tables)


def _beside(own: float, theirs: float | None) -> list[Cell]:
    """Return the cells of what the second model reaches."""
    return [number(theirs, bar=True), signed(None if theirs is None else own - theirs)]


def _calibrations(study: Study) -> Iterator[Section]:
    found: list[Chart] = []
    if study.objects is not None and study.objects.calibration.count.any():
        found.append(_reliability(study.objects.calibration, f"Detections with scores from {MIN_SCORE} on", "D-ECE"))
    if study.whole is not None and study.whole.count.any():
        found.append(_reliability(study.whole, "Pictures", "ECE"))
    if found:
        note = "Bars below the line: the network is surer than it should be. Pale bars stand for few answers."
        yield Section("calibration", "Calibration", note, charts=found)


def _reliability(one: Calibration, title: str, what: str) -> Chart:
    return Chart(charts.reliability(one, title), f"{title}: {what} {text_of(one.error)}")


def _groups(study: Study) -> Iterator[Section]:
    if not study.groups:
        return
    figures = [gap.figure for gap in study.gaps] or list(study.evaluation.figures)[:2]
    rows = [
        [
            label(one.name),
            number(one.pictures),
            number(one.objects),
            *(number(one.figures[it], bar=True) for it in figures),
        ]
        for one in study.groups
    ]
    gaps = [[label(one.figure), label(one.best), label(one.worst), number(one.size)] for one in study.gaps]
    tables = [Table(("group", "pictures", "objects", *figures), rows)]
    if gaps:
        tables.append(Table(("figure", "best in", "worst in", "difference"), gaps, "Largest differences"))
    note = "A group of few pictures or objects says little: look at its size before its figure."
    yield Section("groups", "Groups", note, tables)


def _robustness(study: Study, other: Study | None) -> Iterator[Section]:
    found = study.robustness
    if found is None:
        return
    drawn, tables = [], []
    for figure, clean in found.clean.items():
        series = [
            charts.Series(kind, f"s{index}", range(6), [clean, *(row[figure] for row in rows)], dots=True)
            for index, (kind, rows) in enumerate(found.spoilt.items())
        ]
        highest = max([one for line in series for one in line.ys if np.isfinite(one)], default=1.0)
        frame = charts.Frame("strength (0: undisturbed)", figure, range(6), charts.nice_ticks(highest))
        legend = [(one.name, one.style) for one in series]
        drawn.append(Chart(charts.lines(frame, series, figure), figure, legend))
        tables.append(_left(figure, found, None if other is None else other.robustness, other))
    note = f"On {found.pictures} pictures. What is left is the mean over the five strengths, of the undisturbed figure."
    yield Section("robustness", "Robustness", note, tables, drawn)


def _left(figure: str, found: Robustness, second: Robustness | None, other: Study | None) -> Table:
    left = found.left(figure)
    rest = second.left(figure) if second is not None and figure in second.clean else None
    rows: list[list[Cell]] = []
    for kind, values in found.spoilt.items():
        cells = [label(kind), *(number(row[figure]) for row in values), number(left[kind], bar=True)]
        rows.append(cells if rest is None else [*cells, number(rest[kind], bar=True), signed(left[kind] - rest[kind])])
    heads = [f"{figure} in", "1", "2", "3", "4", "5", "left"]
    more = [] if rest is None or other is None else [f"left, {other.model}", "difference"]
    return Table([*heads, *more], rows)


def _speed(study: Study, other: Study | None) -> Iterator[Section]:
    if study.speed is None:
        return
    names = {
        "pictures_per_s": "pictures per second, engine alone and busy",
        "engine_ms": "ms for one picture by itself, median",
        "engine_p95_ms": "ms for one picture by itself, 95th percentile", "prepare_ms": "ms to scale one picture",
        "decode_ms": "ms to read the answers",
    }  # fmt: skip
    rows = []
    for name, words in names.items():
        own = getattr(study.speed, name)
        row = [label(words), number(own, digits=2)]
        if other is not None:
            theirs = None if other.speed is None else getattr(other.speed, name)
            row += [number(theirs, digits=2), Cell("–" if theirs is None else f"{own - theirs:+.2f}", True)]
        rows.append(row)
    yield Section("speed", "Speed on this machine", study.engine, [Table(_heads(["", study.model], other), rows)])


def _worst(study: Study) -> Iterator[Section]:
    evaluator, details = study.evaluator, study.objects
    if details is not None and evaluator.objects is not None and details.mistakes:
        note = (
            f"The pictures with most false and missed objects, at scores from {text_of(details.best.threshold, 2)} on."
        )
        shown = photos.object_photos(details.mistakes, evaluator.objects.matching.names)
        key = [(name, "rgb({}, {}, {})".format(*colour)) for name, colour in photos.KEY]
        yield Section("worst-objects", "Worst pictures: objects", note, photos=shown, key=key)
    for book in evaluator.maps:
        if book.worst:
            title = f"Worst pictures: label map {book.model_name}"
            yield Section(f"worst-{book.model_name}", title, photos=photos.map_photos(evaluator, book))
    wrong = photos.whole_photos(evaluator)
    if wrong:
        yield Section(
            "worst-classes", "Worst pictures: classes", "The mistakes that were believed in most.", photos=wrong
        )
