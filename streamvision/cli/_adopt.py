"""``streamvision models add`` and ``models remove``: networks that a user brings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamvision.engine.adopt import Proposal, Stated
    from streamvision.engine.manifest import Manifest
    from streamvision.types import Perception

_SHOWN = 8


def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The network.")],
    name: Annotated[str | None, typer.Option(help="What to call the model; the file's name without it.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Its classes in order: a,b,c, a .txt file with one a line, or coco80.")
    ] = None,
    decoder: Annotated[str | None, typer.Option(help="How its outputs are read.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the decoder; may be repeated.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="The size of its picture, if that is open.")] = None,
    colour: Annotated[str | None, typer.Option(help="rgb or bgr.")] = None,
    normalise: Annotated[
        str | None, typer.Option(help="none (0 to 255), unit (0 to 1), or imagenet (mean and deviation).")
    ] = None,
    input_fit: Annotated[str | None, typer.Option(help="letterbox, letterbox_top_left or stretch.")] = None,
    picture: Annotated[Path | None, typer.Option(help="A picture to try it on, instead of the samples.")] = None,
) -> None:
    """Make a model of an ONNX file: work out what it is, try it on a picture, and keep it under a name.

    What the file cannot tell is asked, with the option that answers it; then nothing is written.

    Example: streamvision models add best.onnx --name gate && streamvision detect yard.mp4 --model gate
    """
    from streamvision.engine.adopt import propose, shelf

    chosen = name or _name_of(file)
    stated = _stated(labels, decoder, option or [], size, colour, normalise, input_fit)
    shelf.check_free(chosen)
    proposal = propose(file, chosen, stated)
    _describe(file, proposal)
    _show(file, proposal.manifest, picture)
    path = shelf.add(proposal.document, file, merge=proposal.external)
    typer.echo(f"added {chosen}: {path}")
    typer.echo(f"try it: streamvision detect SOURCE --model {chosen}")


def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="A model that was added.")]) -> None:
    """Remove a model that was added, with its file.

    Example: streamvision models remove gate
    """
    from streamvision.engine.adopt import shelf

    for path in shelf.remove(name):
        typer.echo(f"removed {path}")


def _name_of(file: Path) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._") or "model"


def _stated(
    labels: str | None, decoder: str | None, options: list[str], size: str | None, colour: str | None,
    normalise: str | None, fit: str | None,
) -> Stated:  # fmt: skip
    from streamvision import plugins
    from streamvision.engine.adopt import NORMALISATIONS, Stated
    from streamvision.engine.adopt.look import read_labels
    from streamvision.resources import shipped
    from streamvision.types import Fit

    if decoder is not None:
        plugins.load("decoder", decoder)
    return Stated(
        labels=read_labels(labels, shipped("engines") / "labels") if labels is not None else (),
        decoder=decoder,
        options=dict(_option(each) for each in options),
        size_wh=_size(size),
        colour=_one_of("--colour", colour, ["rgb", "bgr"]),
        normalise=_one_of("--normalise", normalise, list(NORMALISATIONS)),
        fit=_one_of("--input-fit", fit, [str(each) for each in Fit]),
    )


def _one_of(option: str, value: str | None, known: list[str]) -> str | None:
    from streamvision.errors import UsageError

    if value is not None and value not in known:
        raise UsageError(f"{option} {value!r} is not known", remedy=f"choose from {', '.join(known)}")
    return value


def _size(text: str | None) -> tuple[int, int] | None:
    from streamvision.errors import UsageError

    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,4})[xX](\d{1,4})", text)
    if match is None or "0" in (match[1].strip("0") or "0", match[2].strip("0") or "0"):
        raise UsageError(f"--size {text!r} is no size", remedy="write it as WIDTHxHEIGHT, for example 640x640")
    return int(match[1]), int(match[2])


def _option(text: str) -> tuple[str, Any]:
    """Return KEY=VALUE with the value as true, false, a number or a text."""
    from streamvision.errors import UsageError

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--option {text!r} is no option", remedy="write it as NAME=VALUE")
    words = {"true": True, "false": False}
    if value in words:
        return key, words[value]
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def _describe(file: Path, proposal: Proposal) -> None:
    model = proposal.manifest
    spec = model.input
    normal = "scaled to 0-1" if spec.scale != 1 and not spec.mean else "as ImageNet's" if spec.mean else "as they are"
    names = model.labels or next(iter(model.segmentation.values()))
    more = f", ... ({len(names)})" if len(names) > _SHOWN else ""
    typer.echo(f"{file.name}: {proposal.family}")
    typer.echo(f"  outputs  {proposal.outputs}")
    typer.echo(f"  picture  {spec.size[0]}x{spec.size[1]} {spec.colour}, {spec.fit}, pixels {normal}, {spec.dtype}")
    typer.echo(f"  decoder  {model.decoder.type if model.decoder else ''} ({model.task})")
    typer.echo(f"  labels   {', '.join(names[:_SHOWN])}{more}")


def _show(file: Path, model: Manifest, picture: Path | None) -> None:
    """Try the model on one picture, or on the samples until something is found, and say what it saw."""
    from streamvision.engine import samples
    from streamvision.engine.adopt import try_out

    paths = [picture] if picture is not None else samples.files()
    found = try_out(file, model, [samples.read(path) for path in paths])
    at = next((index for index, seen in enumerate(found) if len(seen.detections)), 0)
    typer.echo(f"in {paths[at].name} it sees {_words(model, found[at])}")
    if model.task in ("detection", "instance_segmentation") and not len(found[at].detections):
        typer.echo("  that may be right; try a picture of what it knows: --picture FILE", err=True)


def _words(model: Manifest, seen: Perception) -> str:
    import numpy as np

    if seen.classification is not None:
        best = int(np.argmax(seen.classification))
        return f"{model.labels[best]} {seen.classification[best]:.2f}"
    if seen.segmentation:
        shares = np.bincount(seen.segmentation[0].label_map.ravel()) / seen.segmentation[0].label_map.size
        names = seen.segmentation[0].class_names
        return ", ".join(f"{names[index]} {share:.0%}" for index, share in enumerate(shares) if share >= 0.005)
    found = seen.detections
    rows = zip(found.xyxy[:_SHOWN].tolist(), found.score.tolist(), found.class_id.tolist(), strict=False)
    lines = [
        f"\n  {model.labels[index]} {score:.2f} at {', '.join(f'{side:.0f}' for side in xyxy)}"
        for xyxy, score, index in rows
    ]
    count = "1 object" if len(found) == 1 else f"{len(found)} objects"
    return f"{count}{':' if lines else ''}{''.join(lines)}"
