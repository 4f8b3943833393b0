"""``streamvision label``: a network labels pictures and videos, for another network to be trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamvision.dataset import Example
    from streamvision.dataset.areas import Areas
    from streamvision.dataset.labelling import Labelling
    from streamvision.engine.runner import Inferred
    from streamvision.interfaces import Engine
    from streamvision.offline import OfflineOptions
    from streamvision.types import Float32

_JPEG_QUALITY = 92


def label(
    sources: Annotated[list[str], typer.Argument(help="Pictures, folders of pictures or videos.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for pictures and annotations.", show_default=False)],
    model: Annotated[str, typer.Option("--model", "-m", help="The network that labels.")] = "yolox-nano",
    classes: Annotated[
        str | None, typer.Option(help="The classes to label, a,b,c; all that the network knows without it.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="THEIRS=OURS: a class that the network calls otherwise.")
    ] = None,
    sure: Annotated[float, typer.Option(min=0, max=1, help="From this score on it is an object.")] = 0.5,
    doubtful: Annotated[
        float, typer.Option(min=0, max=1, help="From this score on it is one that does not count.")
    ] = 0.2,
    tiles: Annotated[int, typer.Option(min=1, max=8, help="Look again in N x N parts, for small objects.")] = 1,
    fps: Annotated[float | None, typer.Option(min=0.001, help="Label at most so many pictures per second.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after so much of a video.")] = None,
    areas: Annotated[
        Path | None, typer.Option(help="A file of areas for label maps, for cameras that do not move.")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, tensorrt, openvino, onnxruntime or torch.")] = "auto",
) -> None:
    """Label pictures with a larger network: a COCO data set that `streamvision train` takes.

    Look through it before you train on it: a network learns its teacher's mistakes, too.

    Example: streamvision label yard.mp4 --model yolox-nano --classes person,car --fps 1 --out yard
    """
    from streamvision.dataset.areas import read_areas
    from streamvision.dataset.labelling import Labelling
    from streamvision.engine.build import build_engine
    from streamvision.engine.manifest import load
    from streamvision.offline import OfflineOptions

    manifest = load(model)
    names = _names(rename or [], manifest.labels)
    wanted = _wanted(classes, manifest.labels, names)
    how = Labelling(classes=wanted, rename=names, sure=sure, doubtful=min(doubtful, sure), tiles=tiles)
    known = {} if areas is None else read_areas(areas)
    options = OfflineOptions(fps, None, seconds)
    decoder = {} if manifest.kind == "motion" else {"min_score": how.doubtful}
    with _draft(out) as draft, closing(build_engine(manifest, backend=backend, decoder_options=decoder)) as engine:
        work = _Work(engine, how, known, draft, options)
        examples = [example for source in sources for example in _label_source(source, work)]
        _conclude(out, examples, work)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is the same for all sources."""

    engine: Engine
    how: Labelling
    known: Areas
    draft: Path
    options: OfflineOptions


def _names(pairs: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    from streamvision.errors import UsageError

    found = {}
    for pair in pairs:
        theirs, equals, ours = (part.strip() for part in pair.partition("="))
        if not equals or not theirs or not ours:
            raise UsageError(f"{pair!r} renames nothing", where="--rename", remedy="write THEIRS=OURS")
        if theirs not in labels:
            raise UsageError(
                f"the network knows no {theirs!r}", where="--rename", remedy=f"it knows {', '.join(labels)}"
            )
        found[theirs] = ours
    return found


def _wanted(classes: str | None, labels: Sequence[str], names: dict[str, str]) -> tuple[str, ...]:
    from streamvision.errors import UsageError

    given = tuple(dict.fromkeys(names.get(label, label) for label in labels))
    if classes is None:
        return given
    wanted = tuple(part.strip() for part in classes.split(",") if part.strip())
    if not set(wanted) & set(given):
        raise UsageError(
            "the network knows none of these classes", where="--classes", remedy=f"it knows {', '.join(given)}"
        )
    return wanted


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` for what is not complete yet. Raises `UsageError` for a folder that is in use."""
    from streamvision.errors import UsageError

    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UsageError("the folder is not empty", where=str(out), remedy="name a new one")
        with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as draft:
            yield Path(draft)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(out)) from error


def _label_source(source: str, work: _Work) -> Iterator[Example]:
    from streamvision.cli._interrupt import ending
    from streamvision.cli._progress import count_bar
    from streamvision.clock import SystemClock
    from streamvision.offline import OfflineRun
    from streamvision.redact import redact_url

    stem = Path(redact_url(source).partition("?")[0]).stem or "source"
    run = OfflineRun(source, work.engine, work.options, SystemClock())
    with ending(run.stop), count_bar(f"labelling {stem}", None) as advance:
        for inferred in run:
            yield _labelled(inferred, stem, work)
            advance()


def _labelled(inferred: Inferred, stem: str, work: _Work) -> Example:
    """Label one picture and keep it, as a JPEG."""
    from streamvision.dataset import Example
    from streamvision.dataset.labelling import label as label_picture

    frame = inferred.frame
    objects = label_picture(work.engine, frame.picture.rgb(), inferred.perception.detections, work.how)
    path = work.draft / f"{stem}-{frame.info.seq:05d}.jpg"
    path.write_bytes(frame.picture.jpeg(_JPEG_QUALITY))
    maps = _maps(path, work.known, frame.picture.size_wh, objects.xyxy)
    return Example(path, frame.picture.size_wh, objects, maps, group=stem)


def _maps(picture: Path, known: Areas, size_wh: tuple[int, int], objects: Float32) -> dict[str, Path]:
    """Write the label pictures of one picture, and return where they lie."""
    from streamvision.dataset.areas import write_labels

    paths = {name: picture.with_name(f"{picture.stem}_{name}.png") for name in known}
    for name, path in paths.items():
        write_labels(path, known[name].raster(size_wh, objects))
    return paths


def _conclude(out: Path, examples: Sequence[Example], work: _Work) -> None:
    from streamvision.dataset import Dataset
    from streamvision.dataset.write import to_coco
    from streamvision.errors import UsageError

    if not examples:
        raise UsageError("the sources show no picture", where=str(out))
    maps = {name: areas.classes for name, areas in work.known.items()}
    written = to_coco(Dataset(str(out), work.how.classes, tuple(examples), maps), out, "train")
    doubted = sum(int(example.objects.ignore.sum()) for example in examples if example.objects is not None)
    typer.echo(f"{len(examples)} pictures, {written.objects - doubted} objects, {doubted} more that do not count")
    typer.echo(f"next  look through {out}, then: streamvision train --network sv-street --data {written.file}")
