"""``streamvision eval``: how good a network is on labelled pictures, how fast, and what bad weather leaves of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamvision.cli._figures import show
from streamvision.errors import UsageError

if TYPE_CHECKING:
    from streamvision.engine.manifest import Manifest
    from streamvision.evaluate.evaluator import Names
    from streamvision.evaluate.plain import Labelled
    from streamvision.evaluate.study import Question, Study
    from streamvision.interfaces import Engine

_UNLABELLED = 255


@dataclass(frozen=True, slots=True)
class _Build:
    """How engines are built."""

    backend: str
    precision: str
    calibration: Path | None

    def engine(self, manifest: Manifest) -> Engine:
        """Return a model's engine that keeps nearly everything that AP asks for."""
        from streamvision.engine.build import build_engine
        from streamvision.evaluate import MAX_DETECTIONS, MIN_SCORE

        finds = manifest.kind != "motion" and manifest.task in ("detection", "instance_segmentation")
        return build_engine(
            manifest, backend=self.backend, precision=self.precision, calibration=self.calibration,
            decoder_options={"min_score": MIN_SCORE, "max_detections": MAX_DETECTIONS} if finds else {},
        )  # fmt: skip


Model = Annotated[
    str, typer.Argument(help="A model's name, its manifest, or the folder of a training.", show_default=False)
]
Images = Annotated[Path | None, typer.Option(help="The folder of the pictures.")]
Annotations = Annotated[
    Path | None, typer.Option(help="Without --data: a COCO file of their boxes, or a folder of label pictures.")
]
Data = Annotated[str | None, typer.Option(help="Labelled pictures: [coco:|voc:|yolo:|labels:|classes:]PATH[@SPLIT].")]
JsonOut = Annotated[Path | None, typer.Option("--json", help="Write the figures there, as JSON.")]
Report = Annotated[Path | None, typer.Option(help="Write a report there, as one HTML file.")]
Beside = Annotated[str | None, typer.Option(help="A second model, measured on the same.")]
Backend = Annotated[str, typer.Option(help="auto, openvino, onnxruntime, torch or tensorrt.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")]
Fitting = Annotated[Path | None, typer.Option(help="For int8: a folder of pictures to fit it to.")]
LabelMap = Annotated[str | None, typer.Option("--map", help="Which label map, where a model makes several.")]
MapClass = Annotated[
    list[str] | None, typer.Option(help="MODEL'S=DATA'S: which classes are the same under other names.")
]
Ignore = Annotated[
    list[int] | None, typer.Option(help="An index of label pictures that does not count; 255 by default.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many pictures, drawn evenly.")]
Voc = Annotated[bool, typer.Option("--voc", help="Also the AP of PASCAL VOC, by 11 points and by all.")]
GroupBy = Annotated[
    str | None, typer.Option(help="A metadata column: the figures of each of its groups, and their difference.")
]
Spoilt = Annotated[
    int, typer.Option(min=0, help="Again on so many pictures in fog, dark, rain, blur, noise and compression.")
]
Speed = Annotated[bool, typer.Option("--speed", help="Also the speed on this machine; a report has it.")]


def evaluate(
    model: Model,
    images: Images = None,
    annotations: Annotations = None,
    data: Data = None,
    json_out: JsonOut = None,
    report: Report = None,
    beside: Beside = None,
    backend: Backend = "auto",
    precision: Precision = "auto",
    calibration: Fitting = None,
    label_map: LabelMap = None,
    map_class: MapClass = None,
    ignore: Ignore = None,
    limit: Limit = None,
    voc: Voc = False,
    group: GroupBy = None,
    robustness: Spoilt = 0,
    speed: Speed = False,
) -> None:
    """Measure a model on labelled pictures: AP of boxes and masks, IoU of label maps, or how often the class is right.

    Classes are matched by their names. In a folder of label pictures given as --annotations, each (NAME.png or
    NAME_label.png) has one class index per pixel, as the model numbers them.

    Example: streamvision eval yolox-nano --data instances_val2017.json --images val2017 --report report.html
    """
    from streamvision.evaluate.matching import parse_pairs
    from streamvision.evaluate.study import Question

    _check_places(json_out, report)
    manifests = [_manifest(one) for one in (model, beside) if one is not None]
    if report is not None:
        from streamvision.evaluate.report import check_installed

        check_installed()
    labelled = _labelled(manifests[0], data, images, annotations, label_map, ignore, group)
    dataset = _limited(labelled, limit)
    question = Question(
        dataset, parse_pairs(map_class or []), voc, robustness, group, speed or report is not None, labelled.areas
    )
    names = _names(manifests, question, label_map)
    build = _Build(backend, precision, calibration)
    studies = _studies(manifests, names, question, build)
    _note_masks(manifests[0], studies[0])
    show(studies)
    _write(studies, json_out, report)


def _check_places(*places: Path | None) -> None:
    """Raise `UsageError` where a file cannot be written, before the work."""
    for place in places:
        if place is not None and not place.parent.is_dir():
            raise UsageError("cannot be written: its folder is not there", where=str(place), remedy="make it first")


def _manifest(model: str) -> Manifest:
    from streamvision.engine.manifest import load

    folder = Path(model)
    if not folder.is_dir():
        return load(model)
    found = sorted([*folder.glob("model/*.yaml"), *folder.glob("*.yaml")])[:2]
    exported = sorted(folder.glob("model/*.yaml")) or [one for one in found if one.with_suffix(".onnx").exists()]
    if len(exported) != 1:
        what = "several models lie there" if exported else "there is no exported model (model/NAME.yaml)"
        raise UsageError(what, where=model, remedy="give a manifest, or the folder of a finished training")
    return load(str(exported[0]))


def _labelled(
    manifest: Manifest,
    data: str | None,
    images: Path | None,
    annotations: Path | None,
    label_map: str | None,
    ignored: Sequence[int] | None,
    group: str | None,
) -> Labelled:
    from streamvision.dataset import read
    from streamvision.evaluate.plain import Labelled, read_maps, read_objects

    if data is not None and annotations is None:
        more: dict[str, Any] = {"ignore": tuple(ignored)} if ignored else {}
        more |= {"images": images} if images else {}
        return Labelled(read(data, group=group, **more))
    if data is not None or images is None or annotations is None:
        raise UsageError("what is measured on?", remedy="give either --data, or both --images and --annotations")
    if manifest.task == "semantic_segmentation" or (manifest.segmentation and annotations.is_dir()):
        name = _chosen_map(manifest, label_map)
        return read_maps(images, annotations, name, manifest.segmentation[name], ignored or [_UNLABELLED])
    return read_objects(images, annotations)


def _chosen_map(manifest: Manifest, name: str | None) -> str:
    known = list(manifest.segmentation)
    if name is None and len(known) == 1:
        return known[0]
    if name not in known:
        what = f"there is no label map {name!r}" if name else "the model makes several label maps"
        raise UsageError(what, where=manifest.name, remedy=f"give --map, one of: {', '.join(known)}")
    return name


def _limited(labelled: Labelled, limit: int | None) -> Any:
    from dataclasses import replace

    from streamvision.evaluate.robustness import subset

    whole = labelled.dataset
    return whole if limit is None else replace(whole, examples=subset(whole, limit))


def _names(manifests: Sequence[Manifest], question: Question, label_map: str | None) -> list[Names]:
    """Return what each model calls things; of two models only what both can see."""
    from dataclasses import replace

    from streamvision.evaluate.evaluator import Names
    from streamvision.evaluate.matching import check_pairs, narrowed

    data, pairs, found = question.dataset, question.pairs, []
    for one in manifests:
        maps = {name: classes for name, classes in one.segmentation.items() if label_map in (None, name)}
        if label_map is not None and not maps:
            _chosen_map(one, label_map)
        found.append(Names(one.labels, maps, whole=one.task == "classification"))
    every = [name for one in found for classes in (one.labels, *one.maps.values()) for name in classes]
    theirs = [name for classes in (data.classes, *data.maps.values()) for name in classes]
    check_pairs(every, theirs, pairs, data.origin)
    if len(found) == 1:
        return found
    return [
        replace(one, labels=narrowed(one.labels, other.labels, data.classes, pairs))
        for one, other in (found, found[::-1])
    ]


def _studies(manifests: Sequence[Manifest], names: Sequence[Names], question: Question, build: _Build) -> list[Study]:
    """Build all engines, so that what is missing is told before any work, and ask each of them."""
    from streamvision.cli._progress import count_bar
    from streamvision.evaluate import study

    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(contextlib.closing(build.engine(one))) for one in manifests]
        return [
            study(engine, own, question, model=manifest.name, summary=manifest.summary, bar=count_bar)
            for manifest, own, engine in zip(manifests, names, engines, strict=True)
        ]


def _note_masks(manifest: Manifest, study: Study) -> None:
    """Tell the user where mask AP cannot be measured."""
    book = study.evaluator.objects
    if manifest.task == "instance_segmentation" and book is not None and not book.outlined:
        typer.echo(f"{study.evaluator.dataset.origin} does not outline every object: boxes only, no mask AP", err=True)


def _write(studies: Sequence[Study], json_out: Path | None, report: Path | None) -> None:
    from streamvision.evaluate.summary import as_json, difference

    if json_out is not None:
        figures = as_json(studies[0])
        if len(studies) > 1:
            figures |= {"beside": as_json(studies[1]), "difference": difference(*studies)}
        _write_text(json_out, json.dumps(figures, indent=2) + "\n")
    if report is not None:
        from streamvision.evaluate.report import render

        _write_text(report, render(*studies))
        typer.echo(f"report: {report}")


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from error
