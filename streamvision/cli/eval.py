"""``streamvision eval``: how good a detector is, as COCO average precision, or a segmenter, as mean IoU."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamvision.cli._miou import chosen_map, mean_iou, pairs
from streamvision.cli._pictures import perceptions
from streamvision.errors import MissingError, UsageError

if TYPE_CHECKING:
    from streamvision.engine.manifest import Manifest
    from streamvision.interfaces import Engine
    from streamvision.types import Detections

    Run = Callable[..., Engine]

_MIN_SCORE = 0.001
"""AP asks for the whole curve, so nearly everything is kept."""
_MAX_DETECTIONS = 100
"""As many per picture as the COCO metric looks at."""
_UNLABELLED = 255
_HIGHLIGHTS = {"AP": 0, "AP50": 1, "AP75": 2, "AP_small": 3, "AP_medium": 4, "AP_large": 5}


def evaluate(
    model: Annotated[str, typer.Argument(help="A model's name, or the path of its manifest.", show_default=False)],
    images: Annotated[Path, typer.Option(help="The folder of the pictures.", show_default=False)],
    annotations: Annotated[
        Path, typer.Option(help="A COCO file of their boxes, or a folder of label pictures.", show_default=False)
    ],
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures there, as JSON.")] = None,
    backend: Annotated[str, typer.Option(help="auto, openvino, onnxruntime, torch or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    calibration: Annotated[Path | None, typer.Option(help="For int8: a folder of pictures to fit it to.")] = None,
    label_map: Annotated[
        str | None, typer.Option("--map", help="Which label map, where a model makes several.")
    ] = None,
    ignore: Annotated[
        list[int] | None, typer.Option(help="An index of label pictures that does not count; 255 by default.")
    ] = None,
) -> None:
    """Measure a detector's average precision on labelled pictures, of boxes and of masks where it makes any.

    Classes are matched by their names. A model for semantic segmentation is measured by the IoU of each class and
    their mean; a label picture (NAME.png or NAME_label.png) has one class index per pixel, as the model numbers them.

    Example: streamvision eval yolox-nano --images val2017 --annotations instances_val2017.json
    """
    from streamvision.engine.build import build_engine
    from streamvision.engine.manifest import load

    manifest = load(model)
    run = partial(build_engine, manifest, backend=backend, precision=precision, calibration=calibration)
    if manifest.task == "semantic_segmentation":
        figures = _maps(manifest, run, images, annotations, label_map, ignore or [_UNLABELLED])
    else:
        figures = _objects(manifest, run, images, annotations)
    shown = {**figures, **figures.get("classes", {})}
    shown.pop("classes", None)
    wide = max(10, *map(len, shown))
    for name, value in shown.items():
        typer.echo(f"{name:<{wide}} {value:.4f}" if isinstance(value, float) else f"{name:<{wide}} {value}")
    if json_out is not None:
        _write(json_out, figures)


def _maps(
    manifest: Manifest, run: Run, images: Path, annotations: Path, label_map: str | None, ignored: Sequence[int]
) -> dict[str, Any]:
    name = chosen_map(manifest, label_map)
    found = pairs(images, annotations)
    with contextlib.closing(run()) as engine:
        ious = mean_iou(engine, manifest.segmentation[name], name, found, ignored)
    return {"model": manifest.name, "images": len(found), **ious}


def _objects(manifest: Manifest, run: Run, images: Path, annotations: Path) -> dict[str, Any]:
    _import_pycocotools()  # its absence is told before the work, not after it
    truth = _read_truth(annotations)
    categories = _categories(truth, manifest.labels, annotations)
    limits = {} if manifest.kind == "motion" else {"min_score": _MIN_SCORE, "max_detections": _MAX_DETECTIONS}
    with contextlib.closing(run(decoder_options=limits)) as engine:
        results = list(_results(engine, truth["images"], images, categories))
    figures = {"model": manifest.name, "images": len(truth["images"]), **average_precision(truth, results, categories)}
    if manifest.task == "instance_segmentation" and _has_masks(truth, annotations):
        masks = average_precision(truth, results, categories, "segm")
        figures |= {f"mask_{name}": value for name, value in masks.items()}
    return figures


def _read_truth(annotations: Path) -> dict[str, Any]:
    try:
        truth = json.loads(annotations.read_text(encoding="utf-8"))
        missing = {"images", "annotations", "categories"} - set(truth if isinstance(truth, dict) else ())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read as COCO annotations: {error}", where=str(annotations)) from error
    if missing:
        raise UsageError(f"is no COCO file: it has no {', '.join(sorted(missing))}", where=str(annotations))
    return dict(truth)


def _categories(truth: Mapping[str, Any], labels: Sequence[str], annotations: Path) -> dict[int, int]:
    """Return class id -> category id of every class that both sides know."""
    by_name = {category["name"]: category["id"] for category in truth["categories"]}
    shared = {index: by_name[label] for index, label in enumerate(labels) if label in by_name}
    if not shared:
        raise UsageError(
            "none of the model's classes has a category in the annotations",
            where=str(annotations),
            remedy=f"the model knows {', '.join(labels[:5])}; the annotations {', '.join(list(by_name)[:5])}",
        )
    return shared


def _results(
    engine: Engine, images: Sequence[Mapping[str, Any]], folder: Path, categories: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    """Give COCO result rows."""
    paths = [_picture_path(folder, image["file_name"]) for image in images]
    for image, (info, perception) in zip(images, perceptions(engine, paths), strict=True):
        yield from _rows(image["id"], perception.detections, categories, info.size_wh)


def _picture_path(folder: Path, file_name: str) -> Path:
    """Return where a picture lies; some sets name folders in the file name of which the user gave the last one."""
    path = folder / file_name
    return path if path.exists() else folder / Path(file_name).name


def _rows(
    image_id: int, found: Detections, categories: Mapping[int, int], size_wh: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    from streamvision.masks import patch, rle

    rows = zip(found.xyxy.tolist(), found.score.tolist(), found.class_id.tolist(), strict=True)
    for index, ((x1, y1, x2, y2), score, class_id) in enumerate(rows):
        if class_id in categories:
            box = [x1, y1, x2 - x1, y2 - y1]
            row = {"image_id": image_id, "category_id": categories[class_id], "bbox": box, "score": score}
            if found.masks is not None:
                row["segmentation"] = rle(patch(found.masks, index, size_wh))
            yield row


def _has_masks(truth: Mapping[str, Any], annotations: Path) -> bool:
    """Tell whether mask AP can be measured, and tell the user where it cannot."""
    complete = all(row.get("segmentation") for row in truth["annotations"])
    complete &= all({"width", "height"} <= set(image) for image in truth["images"])
    if not complete:
        typer.echo(f"{annotations} does not outline every object: boxes only, no mask AP", err=True)
    return complete


def average_precision(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    categories: Mapping[int, int],
    of: Literal["bbox", "segm"] = "bbox",
) -> dict[str, float]:
    """Return COCO's AP figures over the categories that the model knows. Raises `MissingError` without pycocotools."""
    other = "bbox" if of == "segm" else "segmentation"  # it takes an object's size from the box where there is one
    results = [{name: value for name, value in row.items() if name != other} for row in results]
    coco, evaluator = _import_pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        known = coco()
        known.dataset = _complete(truth)
        known.createIndex()
        found = coco() if not results else known.loadRes(results)
        evaluation = evaluator(known, found, of)
        evaluation.params.catIds = sorted(categories.values())
        evaluation.params.imgIds = sorted(image["id"] for image in truth["images"])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(evaluation.stats[index]) for name, index in _HIGHLIGHTS.items()}


def _import_pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingError("pycocotools is not installed", remedy="pip install 'streamvision[eval]'") from error
    return COCO, COCOeval


def _complete(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotations with the fields that pycocotools insists on, and ids from 1: it takes an id 0 for none."""
    annotations = [
        {"iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row, "id": number}
        for number, row in enumerate(truth["annotations"], start=1)
    ]
    return {"info": {}, **truth, "annotations": annotations}


def _write(path: Path, figures: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from error
