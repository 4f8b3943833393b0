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


def bench(
    config: Annotated[
        Path | None,
        typer.Argument(help="Measure this configuration's model, with as many streams.", show_default=False),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Without a configuration: the model.")] = "default",
    streams: Annotated[int, typer.Option(min=1, help="Without a configuration: how many streams.")] = 1,
    video: Annotated[
        Path | None, typer.Option(help="The film to read; by default a street that the program draws.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each part is measured, in turn.")] = 3,
) -> None:
    """Measure the pipeline beside decoding alone, scaling alone and the engine alone, in one interleaved run.

    Live sources cannot run faster than life, so every stream reads the same film as fast as it can.

    Example: streamvision bench --model yolox-nano --streams 4
    """
    import tempfile

    from streamvision.benchmark import bench_settings, measure_limits
    from streamvision.config import load_settings

    with tempfile.TemporaryDirectory(prefix="streamvision-bench-") as name:
        folder = Path(name)
        film = video.absolute() if video else _film(folder)
        if config is not None:
            model, streams = _of(config)
        path = folder / "bench.yaml"
        path.write_text(bench_settings(folder / "state", str(film), manifest=model, streams=streams), encoding="utf-8")
        _tell(model, streams, measure_limits(load_settings(path), str(film), rounds=rounds))


def _film(folder: Path) -> Path:
    from streamvision.capture.street.encode import write_street

    typer.echo("drawing a street of 20 s ...", err=True)
    path = folder / "street.mp4"
    write_street(path, seconds=20.0, size_wh=(1280, 720), fps=25.0)
    return path


def _of(config: Path) -> tuple[str, int]:
    """Return the manifest of the first stream's model, and how many streams use that model."""
    from streamvision.config import load_settings

    settings: Settings = load_settings(config)
    first = settings.streams[0].model
    return settings.models[first].manifest, sum(stream.model == first for stream in settings.streams)


def _tell(model: str, streams: int, limits: Limits) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{model}, {streams} stream{'s' if streams > 1 else ''}: medians of {len(limits.decode)} rounds"
    )
    for heading in ("part", "pictures/s", "CPU ms per picture"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for name in ("decode", "scale", "engine", "pipeline"):
        samples: Sequence[Sample] = getattr(limits, name)
        fps, cpu_ms = (statistics.median(getattr(one, what) for one in samples) for what in ("fps", "cpu_ms"))
        table.add_row(name if name == "pipeline" else f"{name} alone", f"{fps:.1f}", f"{cpu_ms:.2f}")
    console = Console()
    console.print(table)
    console.print(f"CPU per picture: {limits.cpu_ratio:.3f} times the sum of its parts")
    console.print(f"pictures per second: {limits.throughput_ratio:.3f} of its slowest part alone")
