"""``streamvision bench``: the pipeline beside its own limits on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamvision.benchmark import Limits, Sample
    from streamvision.config import Settings

_PARTS = {
    "decode": "decoding alone, one stream",
    "scale": "scaling alone",
    "engine": "inference alone",
    "pipeline": "the whole pipeline",
}


def bench(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="Measure the streams of this configuration: as many, with their rules.", show_default=False
        ),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Without a configuration: the model.")] = "default",
    streams: Annotated[int, typer.Option(min=1, help="Without a configuration: how many streams.")] = 1,
    fps: Annotated[
        float | None, typer.Option(min=0.01, help="Without a configuration: analyse at most so many per second.")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Without a configuration: auto, tensorrt, openvino, onnxruntime or torch.")
    ] = "auto",
    video: Annotated[
        Path | None, typer.Option(help="The film that every stream reads; by default a street that is drawn first.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each part is measured, in turn.")] = 3,
) -> None:
    """Measure the pipeline beside decoding alone, scaling alone and inference alone, in one interleaved run.

    A camera cannot run faster than life, so every stream reads the same film as fast as it can, with no sinks; rates,
    rules, trackers and masks are those of the configuration. Streams of other models than the first one's are left out.

    Example: streamvision bench --model yolox-nano --streams 4
    """
    import tempfile

    from streamvision.benchmark import measure_limits
    from streamvision.cli._progress import count_bar
    from streamvision.cli.logs import only_warnings
    from streamvision.config import load_settings

    only_warnings()
    with tempfile.TemporaryDirectory(prefix="streamvision-bench-") as name:
        folder = Path(name)
        config = config or _made_up(folder, manifest=model, streams=streams, fps=fps, backend=backend)
        chosen = load_settings(config)
        film = video.absolute() if video else _film(folder)
        settings = _on(film, chosen, folder)
        with count_bar("measuring", rounds * len(_PARTS)) as step:
            limits = measure_limits(settings, str(film), rounds=rounds, step=step)
    _tell(settings, limits)


def _made_up(folder: Path, *, manifest: str, streams: int, fps: float | None, backend: str) -> Path:
    """Return a configuration made up from the options."""
    from streamvision.benchmark import bench_settings

    path, film = folder / "bench.yaml", str(folder / "film")
    text = bench_settings(folder, film, manifest=manifest, streams=streams, fps=fps, backend=backend)
    path.write_text(text, encoding="utf-8")
    return path


def _on(film: Path, chosen: Settings, folder: Path) -> Settings:
    from streamvision.benchmark import on_film

    settings = on_film(chosen, str(film), folder)
    left_out = len(chosen.streams) - len(settings.streams)
    if left_out:
        typer.echo(f"left out: {left_out} streams of other models than {settings.streams[0].model}", err=True)
    return settings


def _film(folder: Path) -> Path:
    from streamvision.capture.street.encode import write_street

    typer.echo("drawing a street of 20 s ...", err=True)
    path = folder / "street.mp4"
    write_street(path, seconds=20.0, size_wh=(1280, 720), fps=25.0)
    return path


def _tell(settings: Settings, limits: Limits) -> None:
    from rich.console import Console
    from rich.table import Table

    streams = settings.streams
    manifest = Path(settings.models[streams[0].model].manifest).name
    count = f"{len(streams)} stream{'s' if len(streams) > 1 else ''}"
    repeats = f"medians of {len(limits.decode)} rounds" if len(limits.decode) > 1 else "one round"
    table = Table(title=f"{manifest}, {count}, {repeats}")
    for heading in ("", "pictures/s", "CPU ms per picture"):
        table.add_column(heading, justify="right" if heading else "left")
    for part, what in _PARTS.items():
        samples: Sequence[Sample] = getattr(limits, part)
        fps, cpu_ms = (statistics.median(getattr(one, value) for one in samples) for value in ("fps", "cpu_ms"))
        table.add_row(what, f"{fps:.1f}", f"{cpu_ms:.2f}")
    console = Console()
    console.print(table)
    share = statistics.median(sample.analysed_share for sample in limits.pipeline)
    if share < 1:
        console.print(f"Analysed: {share:.0%} of the pictures; the others were not wanted.")
    console.print(f"CPU per picture: {limits.cpu_ratio:.2f} times the sum of its parts.")
    console.print(f"Pictures per second: {limits.throughput_ratio:.2f} times those of its slowest part alone.")
