"""Networks that look twice: Faster R-CNN, Mask R-CNN, and Fast R-CNN's second stage on regions found elsewhere.

The dense parts are compiled networks: one sees pictures and makes features and proposals, one judges regions, one draws
masks. Between them, proposals are sifted and regions cut out of the features (`proposals`, `roi_align`) on this
engine's own threads, so that the stages of different pictures overlap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from streamvision.engine import models
from streamvision.engine.backends import CompiledNetwork, Network, Outputs
from streamvision.engine.manifest import Head, Heads, Manifest
from streamvision.engine.motion import Movers
from streamvision.engine.proposals import Window, propose, widened
from streamvision.engine.roi_align import Features
from streamvision.engine.two_stage_parts import REGIONS, Looker, Seer, mismatch, region_input
from streamvision.engine.two_stage_results import Found, TwoStageOptions, select, to_perception, window_of
from streamvision.errors import EngineError, ManifestError, UsageError
from streamvision.types import Batch, Float32, Perception

OpenNetwork = Callable[[Network], CompiledNetwork]


@dataclass(frozen=True, slots=True)
class _Stages:
    seer: Seer
    box: Looker
    mask: Looker | None

    def close(self) -> None:
        for part in (self.seer, self.box, self.mask):
            if part is not None:
                part.network.close()


def build_two_stage(
    manifest: Manifest, open_network: OpenNetwork, decoder_options: Mapping[str, Any]
) -> TwoStageEngine:
    """Return the engine over networks that ``open_network`` compiles; ``decoder_options`` go over the manifest's own.

    Raises `ManifestError` for parts that do not fit together, `UsageError` for wrong options, and what
    ``open_network`` raises; nothing stays open then.
    """
    options = _options(manifest, decoder_options)
    opened: list[CompiledNetwork] = []

    def open_part(network: Network) -> CompiledNetwork:
        opened.append(open_network(network))
        return opened[-1]

    try:
        return TwoStageEngine(manifest, options, _stages(manifest, options, open_part))
    except BaseException:
        for network in opened:
            network.close()
        raise


def _options(manifest: Manifest, overrides: Mapping[str, Any]) -> TwoStageOptions:
    try:
        TwoStageOptions.model_validate(manifest.options)
    except ValidationError as error:
        raise ManifestError(f"options.{_first(error)}", where=str(manifest.path or manifest.name)) from error
    try:
        return TwoStageOptions.model_validate({**manifest.options, **overrides})
    except ValidationError as error:
        raise UsageError(f"option of {manifest.name}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _stages(manifest: Manifest, options: TwoStageOptions, open_network: OpenNetwork) -> _Stages:
    if manifest.heads is None:
        raise ManifestError("a two-stage network needs `heads`", where=manifest.name)
    name, heads, classes = manifest.name, manifest.heads, len(manifest.labels) + 1
    seeing = Network(name, models.require(manifest), manifest.input, quantised=manifest.quantised)
    network = open_network(seeing)
    seer = Seer.of(name, network, manifest.input.size)
    if options.regions == "rpn" and not seer.objectness:
        raise mismatch(name, "`regions: rpn` needs a first stage that proposes regions", network)
    box = _open(manifest, "box", heads.box, seer, open_network, [("scores", (1, classes)), ("deltas", (1, classes, 4))])
    return _Stages(seer, box, _mask_head(manifest, heads, seer, open_network))


def _mask_head(manifest: Manifest, heads: Heads, seer: Seer, open_network: OpenNetwork) -> Looker | None:
    if heads.mask is None:
        return None
    classes = len(manifest.labels) + 1
    return _open(manifest, "mask", heads.mask, seer, open_network, [("masks", (1, classes, None, None))])


def _open(
    manifest: Manifest,
    part: str,
    head: Head,
    seer: Seer,
    open_network: OpenNetwork,
    wanted: Sequence[tuple[str, tuple[int | None, ...]]],
) -> Looker:
    name = f"{manifest.name}-{part}"
    path = models.require(manifest, head.file)
    network = open_network(Network(name, path, region_input(head, seer.channels), max_batch=REGIONS))
    return Looker.of(name, network, head, wanted)


class TwoStageEngine:
    """Implements `interfaces.Engine`. Of a stream it remembers at most what moves in it."""

    def __init__(self, manifest: Manifest, options: TwoStageOptions, stages: _Stages) -> None:
        first = stages.seer.network
        self.input = manifest.input.spec()
        self.labels = manifest.labels
        self.in_flight = first.in_flight
        self.max_batch = first.max_batch
        self.description = f"{manifest.name} on {first.name} ({first.device}, {first.in_flight} requests, two stages)"
        self._name = manifest.name
        self._options = options
        self._stages = stages
        self._movers = Movers(options.motion) if options.regions == "motion" else None
        self._free = threading.BoundedSemaphore(self.in_flight)
        self._threads = ThreadPoolExecutor(self.in_flight, thread_name_prefix=f"{manifest.name}-second-stage")

    def submit(self, batch: Batch) -> Future[Outputs]:
        """Start on a batch; blocks while ``in_flight`` of them are under way. Failures are `EngineError` in the future.

        The future gives per frame, in input px: xyxy (N,4), score (N,), class_id (N,), and with a mask head
        probabilities (N,m,m). Moving regions are found at once, because a background is learnt in the order of time.
        """
        moving = None if self._movers is None else [self._movers.find(frame)[:, :4] for frame in batch.frames]
        windows = [window_of(frame.letterbox) for frame in batch.frames]
        self._free.acquire()
        try:
            seen = self._stages.seer.network.submit([frame.pixels for frame in batch.frames])
            future = self._threads.submit(self._finish, seen, windows, moving)
        except RuntimeError as error:  # the threads take no more work
            self._free.release()
            raise EngineError("the engine is closed", where=self._name) from error
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future

    def decode(self, batch: Batch, outputs: Outputs) -> list[Perception]:
        """Return one `Perception` per frame, in source pixels, best score first."""
        each = len(outputs) // len(batch)
        parts = [outputs[index * each : (index + 1) * each] for index in range(len(batch))]
        return [to_perception(frame.letterbox, *part) for frame, part in zip(batch.frames, parts, strict=True)]

    def forget(self, stream: str) -> None:
        """Forget a stream's background."""
        if self._movers is not None:
            self._movers.forget(stream)

    def close(self) -> None:
        """Wait for what is running and release the device; idempotent."""
        self._threads.shutdown(wait=True)
        self._stages.close()

    def _finish(self, seen: Future[Outputs], windows: list[Window], moving: list[Float32] | None) -> Outputs:
        try:
            return self._look_closer(seen.result(), windows, moving)
        except EngineError:
            raise
        except Exception as error:  # border of a thread: every failure must reach the future, typed
            raise EngineError(f"the second stage failed: {error}", where=self._name) from error

    def _look_closer(self, outputs: Outputs, windows: list[Window], moving: list[Float32] | None) -> Outputs:
        features = self._stages.seer.gather(outputs)
        regions = [self._regions(outputs, index, window, moving) for index, window in enumerate(windows)]
        found = self._judge(features, regions, windows)
        masks = self._draw(features, found)
        results: Outputs = []
        for picture, its_masks in zip(found, masks, strict=True):
            results += [picture.xyxy, picture.score, picture.class_id, *its_masks]
        return results

    def _regions(self, outputs: Outputs, picture: int, window: Window, moving: list[Float32] | None) -> Float32:
        if moving is not None:
            return widened(moving[picture], self._options.margin, window)
        objectness, boxes = self._stages.seer.proposed(outputs, picture)
        return propose(objectness, boxes, window, self._options.proposals)

    def _judge(self, features: Features, regions: list[Float32], windows: list[Window]) -> list[Found]:
        """Look at the regions of all pictures together; return what each picture shows."""
        counts = [len(boxes) for boxes in regions]
        if not sum(counts):
            return [Found.nothing() for _ in regions]
        whose = np.repeat(np.arange(len(regions), dtype=np.intp), counts)
        scores, deltas = self._stages.box.look(features, np.concatenate(regions), whose)
        cuts = np.cumsum(counts)[:-1]
        judged = zip(np.split(scores, cuts), np.split(deltas, cuts), regions, windows, strict=True)
        limits = self._options
        return [select(*each, limits) for each in judged]

    def _draw(self, features: Features, found: list[Found]) -> list[list[Float32]]:
        """Return per picture the masks (N,m,m) of its detections, each of its class; nothing without a mask head."""
        head = self._stages.mask
        if head is None:
            return [[] for _ in found]
        counts = [len(picture.score) for picture in found]
        side = head.network.output_shapes[head.order[0]][-1]
        if not sum(counts):
            return [[np.empty((0, side, side), np.float32)] for _ in found]
        xyxy = np.concatenate([picture.xyxy for picture in found])
        class_id = np.concatenate([picture.class_id for picture in found])
        (masks,) = head.look(features, xyxy, np.repeat(np.arange(len(found), dtype=np.intp), counts))
        own = masks[np.arange(len(masks)), class_id + 1]
        return [[part] for part in np.split(own, np.cumsum(counts)[:-1])]
