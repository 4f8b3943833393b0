"""``streamvision explain``: why did the network say so."""

from __future__ import annotations

import json
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamvision.cli._files import spare
from streamvision.errors import UsageError
from streamvision.files import write_whole

if TYPE_CHECKING:
    from streamvision.engine.manifest import Manifest
    from streamvision.explain.explanation import Explanation
    from streamvision.explain.targets import Target
    from streamvision.interfaces import Engine
    from streamvision.types import Frame, UInt8

_MIN_SCORE = 0.01
"""With half of the picture hidden a network is less sure, and what it still sees counts."""


class Method(StrEnum):
    """How a map is made."""

    DRISE = "drise"
    GRADCAM = "gradcam"


_Source = Annotated[str | None, typer.Argument(help="A picture, or a video or stream at a time: street.mp4@12.5s.")]
_Model = Annotated[
    str, typer.Option("--model", "-m", help="A name from `models list`, a manifest file, or the folder of a run.")
]
_Out = Annotated[Path | None, typer.Option("--out", help="Write the map over the picture there (.png, .jpg).")]
_Number = Annotated[int | None, typer.Option("--detection", min=0, help="Which detection, 0 for the best score.")]
_Class = Annotated[
    str | None, typer.Option("--class", help="Which class: of a picture, of a label map, or of the detection.")
]
_Map = Annotated[str | None, typer.Option("--map", help="Which of the model's label maps.")]
_Region = Annotated[str | None, typer.Option(help="For label maps: which part, x1,y1,x2,y2 from 0 to 1.")]
_How = Annotated[Method, typer.Option(help="drise: any network; gradcam: needs its PyTorch weights.")]
_Weights = Annotated[
    Path | None, typer.Option("--weights", help="For gradcam: the state file; the folder of a run has its own.")
]
_Network = Annotated[
    str | None, typer.Option("--network", help="For gradcam with --weights: the recipe, as in torchvision:resnet18.")
]
_Layer = Annotated[str | None, typer.Option("--layer", help="For gradcam: at which layer; the backbone's last.")]
_Masks = Annotated[int, typer.Option(min=20, help="Hide parts of the picture in so many ways, at most.")]
_Seconds = Annotated[float | None, typer.Option(min=0.1, help="Take no more time than this for the masks.")]
_Event = Annotated[str | None, typer.Option("--event", help="Explain the picture that was kept with an event.")]
_Config = Annotated[Path | None, typer.Option("--config", "-c", help="With --event: the daemon's configuration.")]


def explain(
    source: _Source = None,
    model: _Model = "default",
    out: _Out = None,
    detection: _Number = None,
    class_name: _Class = None,
    label_map: _Map = None,
    region: _Region = None,
    method: _How = Method.DRISE,
    weights: _Weights = None,
    network: _Network = None,
    layer: _Layer = None,
    masks: _Masks = 1000,
    seconds: _Seconds = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same masks.")] = 0,
    backend: Annotated[str, typer.Option(help="auto, tensorrt, openvino, onnxruntime or torch.")] = "auto",
    event: _Event = None,
    config: _Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show which parts of a picture a detection, a class or an area rests on, and how far that can be trusted.

    Example: streamvision explain car-detection.mp4@4s --model yolox-nano --detection 0 --out map.png
    """
    from streamvision.explain.asking import Question
    from streamvision.explain.occlusion import Options

    options = Options(masks=masks, seconds=seconds, seed=seed)
    if event is not None and config is not None and source is None:
        from streamvision.cli._explain_event import explain_event

        found, picture = explain_event(event, config, options, keep=out is None)
    elif source is not None and event is None and config is None:
        spare(source.rpartition("@")[0] or source, out)
        question = Question(detection, class_name, label_map, **_region(region))
        found, picture = _explain(source, _Choice(model, method, weights, network, layer, backend), question, options)
    else:
        raise UsageError("explain what?", remedy="give a picture or video@time, or --event ID with --config CONFIG")
    _write(out, found, picture)
    typer.echo(json.dumps(found.as_json()) if as_json else _words(found, out))


class _Choice:
    """Which network is asked, and how."""

    def __init__(
        self, model: str, method: Method, weights: Path | None, network: str | None, layer: str | None, backend: str
    ) -> None:
        from streamvision.explain.runs import Trained, find_run, load_gradcam

        self.run: Trained | None = find_run(model, weights, network)
        self.model = str(self.run.manifest) if self.run is not None and self.run.manifest else model
        self.method, self.layer, self.backend = method, layer, backend
        if method is not Method.GRADCAM and (weights or network or layer):
            raise UsageError("--weights, --network and --layer are for --method gradcam", where="--method")
        if method is Method.GRADCAM and self.run is None:
            raise UsageError(
                "Grad-CAM looks into the network, and a compiled one cannot be looked into",
                where="--method", remedy="give the folder of a run as --model, or --weights FILE --network RECIPE",
            )  # fmt: skip
        if method is Method.GRADCAM:
            load_gradcam()  # before anything that takes time


def _explain(source: str, choice: _Choice, question: Any, options: Any) -> tuple[Explanation, UInt8]:
    from streamvision.clock import SystemClock
    from streamvision.engine.build import build_engine
    from streamvision.engine.manifest import load
    from streamvision.explain.asking import require_explainable, target_of
    from streamvision.explain.explanation import concluded
    from streamvision.explain.pictures import frame_of, parse_moment, picture_at, see

    manifest = load(choice.model)
    require_explainable(manifest)
    picture = picture_at(*parse_moment(source), SystemClock())
    with ExitStack() as stack:
        engine = build_engine(manifest, backend=choice.backend, decoder_options=_generous(manifest))
        stack.callback(engine.close)
        frame = frame_of(picture, engine.input)
        target = target_of(question, see(engine, frame), manifest)
        if choice.method is Method.GRADCAM:
            from streamvision.explain.runs import load_gradcam

            saliency = load_gradcam()(choice.run, manifest, frame, target, choice.layer)
        else:
            saliency = hidden(engine, frame, target, options)
        return concluded(engine, frame, manifest.name, target, saliency), picture


def hidden(engine: Engine, frame: Frame, target: Target, options: Any) -> Any:
    """Return the saliency by hiding parts of the picture, with progress; Ctrl-C ends it early with what there is."""
    from streamvision.cli._interrupt import ending
    from streamvision.cli._progress import count_bar
    from streamvision.explain.occlusion import Occlusion

    work, stopped = Occlusion(engine, frame, target, options), []
    if work.score <= 0:
        raise UsageError("the network does not see this in the picture, so there is nothing to explain")
    with ending(lambda: stopped.append(True)), count_bar("hiding parts", options.masks) as advance:
        for _ in work:
            advance()
            if stopped:
                break
    return work.saliency


def _generous(manifest: Manifest) -> dict[str, Any]:
    """Return decoder options with which faint detections are told too."""
    if manifest.kind == "two_stage" or manifest.task in ("detection", "instance_segmentation"):
        return {"min_score": _MIN_SCORE}
    return {}


def _region(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        x1 = y1 = x2 = y2 = 0.0
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise UsageError(f"expected x1,y1,x2,y2 from 0 to 1, not {text!r}", where="--region", remedy="like 0,0.5,1,1")
    return {"corners": ((x1, y1), (x2, y1), (x2, y2), (x1, y2))}


def _write(out: Path | None, found: Explanation, picture: UInt8) -> None:
    if out is None:
        return
    from streamvision.draw.jpeg import to_file

    try:
        write_whole(out, to_file(found.drawn(picture), out.suffix))
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot be written: {error}", where=str(out), remedy="name a .png or .jpg file") from error


def _words(found: Explanation, out: Path | None) -> str:
    saliency, curves, place = found.saliency, found.curves, found.pointing
    lines = [f"{found.target.label}: {saliency.score:.3f}, by {found.model}"]
    how = saliency.method
    if saliency.masks:
        how += f", {saliency.masks} masks, agreement {saliency.agreement:.2f}"
    lines.append(f"{how}; insertion {curves.insertion_area:.2f}, deletion {curves.deletion_area:.2f}")
    if place is not None:
        peak = "inside" if place.hit else "outside"
        lines.append(f"in the box: {place.energy:.0%} of the map, {place.even:.0%} of the picture; its peak is {peak}")
    lines += [f"doubtful: {doubt}" for doubt in found.doubts] or ["nothing speaks against this map"]
    return "\n".join([*lines, *([f"map in {out}"] if out else [])])
