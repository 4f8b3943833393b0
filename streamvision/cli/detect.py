"""``streamvision detect``: one source, no configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from streamvision.cli._files import spare
from streamvision.cli._maps import shares
from streamvision.cli._objects import described
from streamvision.cli.probe import Transport

if TYPE_CHECKING:
    from streamvision.engine.manifest import Manifest
    from streamvision.interfaces import Engine, Tracker
    from streamvision.offline import OfflineRun
    from streamvision.types import Analysis, Perception


def detect(
    source: Annotated[
        str, typer.Argument(help="A picture, video file, folder of pictures, camera URL, demo:street or demo:drive.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name from `models list`, or a manifest file.")
    ] = "default",
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write one JSON line per picture there (- for standard output).")
    ] = None,
    video: Annotated[Path | None, typer.Option("--video", help="Write an annotated H.264 video there.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Follow objects and give each its id.")] = False,
    min_score: Annotated[float, typer.Option(min=0.0, max=1.0, help="Report detections from this score on.")] = 0.3,
    fps: Annotated[float | None, typer.Option(min=0.01, help="Analyse at most so many pictures per second.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after so much of the stream.")] = None,
    backend: Annotated[str, typer.Option(help="auto, tensorrt, openvino, onnxruntime or torch.")] = "auto",
    transport: Annotated[Transport | None, typer.Option(help="For RTSP; tcp unless given.")] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Write masks, too, as COCO run lengths.")] = False,
) -> None:
    """Detect (and follow) what a source shows, without a configuration.

    Example: streamvision detect car.mp4 --model yolox-nano --track --json found.jsonl --video found.mp4
    """
    from streamvision.cli._interrupt import interruptible
    from streamvision.clock import SystemClock
    from streamvision.config import local_path
    from streamvision.engine.build import build_engine
    from streamvision.engine.manifest import load
    from streamvision.offline import OfflineOptions, OfflineRun

    spare(local_path(source), json_out, video)
    following = track or video is not None
    with ExitStack() as stack:
        manifest = load(model)
        _check(manifest, masks)
        engine = build_engine(manifest, backend=backend)
        stack.callback(engine.close)
        to_stdout = json_out is None and video is None
        lines = stack.enter_context(_writer(Path("-") if to_stdout else json_out))
        run = OfflineRun(source, engine, OfflineOptions(fps, transport, seconds), SystemClock())
        interruptible(run.check)
        report = _Report(engine, _tracker(min_score) if following else None, min_score, lines, video, masks, stack)
        _work_through(run, report, source)
        report.conclude(run)


def _check(manifest: Manifest, masks: bool) -> None:
    from streamvision.errors import UsageError

    if masks and manifest.task != "instance_segmentation" and not manifest.segmentation:
        raise UsageError(
            f"a network for {manifest.task} makes no masks", where=manifest.name, remedy="leave --masks out"
        )


_ON_REQUEST = {"stopped", "shutdown"}
"""Pictures that nobody waited for because the run was ended are no loss."""


def _tracker(min_score: float) -> Tracker:
    from streamvision.track.bytetrack import ByteTrack
    from streamvision.track.ids import counting_ids

    options = ByteTrack.Options(high_score=min_score, low_score=min(0.1, min_score))
    return ByteTrack(options, counting_ids())


@contextmanager
def _writer(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
    elif str(path) == "-":
        yield sys.stdout
    else:
        from streamvision.errors import UsageError

        try:
            file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from error
        with file:
            yield file


class _Report:
    """Writes what was seen, picture by picture."""

    def __init__(
        self, engine: Engine, tracker: Tracker | None, min_score: float, lines: TextIO | None, video: Path | None,
        with_rle: bool, stack: ExitStack,
    ) -> None:  # fmt: skip
        from streamvision.draw import Trails
        from streamvision.record.video import VideoWriter

        self._labels = engine.labels
        self._tracker = tracker
        self._min_score = min_score
        self._lines = lines
        self._with_rle = with_rle
        self._video = stack.enter_context(VideoWriter(video)) if video is not None else None
        self._video_path = video
        self._trails = Trails()
        self._ids: set[int] = set()
        self.pictures = 0
        self.detections = 0

    def add(self, inferred: Any) -> None:
        """Take one analysed picture."""
        analysis = self._analyse(inferred)
        self.pictures += 1
        if self._lines is not None:
            line = self._line(analysis) | _classification(inferred.perception, self._labels)
            if analysis.segmentation:
                line["segmentation"] = [shares(found, with_rle=self._with_rle) for found in analysis.segmentation]
            self._lines.write(json.dumps(line) + "\n")
        if self._video is not None:
            self._draw(inferred, analysis)

    def _analyse(self, inferred: Any) -> Analysis:
        from streamvision.types import Analysis, Tracks

        info, found = inferred.frame.info, inferred.perception.detections
        if self._tracker is None:
            return Analysis(
                info,
                found[found.score >= self._min_score],
                Tracks.empty(),
                self._labels,
                inferred.perception.segmentation,
            )
        tracks = self._tracker.update(found, info.media_s)
        self._ids.update(tracks.ids[tracks.confirmed].tolist())
        return Analysis(info, found, tracks, self._labels, inferred.perception.segmentation)

    def _line(self, analysis: Analysis) -> dict[str, object]:
        tracks, found = analysis.tracks, analysis.detections
        seen = tracks.visible & tracks.confirmed
        ids = dict(zip(tracks.det_index[seen].tolist(), tracks.ids[seen].tolist(), strict=True))
        size_wh = analysis.info.size_wh
        detections = [
            described(found, index, self._labels, size_wh, with_rle=self._with_rle)
            | ({"track": ids[index]} if index in ids else {})
            for index, score in enumerate(found.score.tolist())
            if score >= self._min_score or index in ids
        ]
        self.detections += len(detections)
        return {"frame": analysis.info.seq, "media_s": round(analysis.info.media_s, 4), "detections": detections}

    def _draw(self, inferred: Any, analysis: Analysis) -> None:
        from dataclasses import replace

        from streamvision.draw import annotate

        assert self._video is not None
        self._trails.update(analysis)
        found, shown = analysis.detections, analysis
        if not len(analysis.tracks):  # a track points to its row, which must stay in its place
            shown = replace(analysis, detections=found[found.score >= self._min_score])
        picture = annotate(inferred.frame.picture.rgb(), shown, trails=self._trails.snapshot())
        self._video.add(picture, analysis.info.media_s)

    def conclude(self, run: OfflineRun) -> None:
        """Say what came of it, and what was lost on the way."""
        parts = [f"{self.pictures} pictures analysed"]
        if self._lines is not None:
            parts.append(f"{self.detections} detections")
        if self._tracker is not None:
            parts.append(f"{len(self._ids)} objects followed")
        lost = {reason: count for (_, reason), count in sorted(run.stats.dropped.items()) if reason not in _ON_REQUEST}
        parts += [f"{count} lost ({reason})" for reason, count in lost.items()]
        if self._video_path is not None:
            parts.append(f"video in {self._video_path}")
        typer.echo(", ".join(parts), err=True)
        if lost and not self.pictures:
            from streamvision.errors import BrokenMedia

            raise BrokenMedia("not one of its pictures could be used")


_TOP_CLASSES = 5


def _classification(perception: Perception, labels: Sequence[str]) -> dict[str, object]:
    """Return the likeliest classes of a picture that a network judged as a whole, likeliest first."""
    if perception.classification is None:
        return {}
    pairs = zip(labels, perception.classification.tolist(), strict=True)  # two classes may have the same name
    best = sorted(pairs, key=lambda pair: -pair[1])[:_TOP_CLASSES]
    return {"classification": [{"class": label, "score": round(score, 4)} for label, score in best]}


def _work_through(run: OfflineRun, report: _Report, source: str) -> None:
    from streamvision.cli._interrupt import ending
    from streamvision.cli._progress import count_bar
    from streamvision.redact import redact_url

    with ending(run.stop), count_bar(redact_url(source), None) as advance:
        for inferred in run:
            report.add(inferred)
            advance()
