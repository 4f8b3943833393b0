"""Teachers: a compiled model, of which only the answers are known, or a run of ours, of which the scores are, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from streamvision.compress.distil import UNSURE
from streamvision.compress.source import Run, is_run, module_of
from streamvision.engine import manifest as manifests
from streamvision.engine.build import build_engine
from streamvision.engine.manifest import Manifest
from streamvision.evaluate.running import batch_of
from streamvision.export.segmentation import class_scores
from streamvision.geometry import Letterbox
from streamvision.interfaces import Engine
from streamvision.train.networks import Network, table
from streamvision.train.networks.pixels import Normalise
from streamvision.types import Perception


class EngineTeacher:
    """A `Teacher` behind an engine. Its pictures are fitted to what it wants to see."""

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self.labels, self.maps = manifest.labels, manifest.segmentation
        self._engine = engine

    @classmethod
    def of(cls, manifest: Manifest) -> EngineTeacher:
        """Build the engine of a model; of objects it also tells those that it is not sure of."""
        finds = manifest.kind != "motion" and manifest.task in ("detection", "instance_segmentation")
        return cls(build_engine(manifest, decoder_options={"min_score": UNSURE} if finds else {}), manifest)

    def see(self, pictures: Tensor) -> list[Perception]:
        """Return what it sees in pictures (B,3,h,w) uint8 RGB, boxes in their px."""
        batches = [
            batch_of(self._engine, f"lesson-{number}", picture.permute(1, 2, 0).contiguous().cpu().numpy())
            for number, picture in enumerate(pictures)
        ]
        found = []
        for batch in batches:
            found += self._engine.decode(batch, self._engine.submit(batch).result())
            self._engine.forget(batch.frames[0].info.stream)
        return found

    def scores(self, pictures: Tensor) -> list[Tensor] | None:
        """Return None: an engine gives answers only."""
        return None

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class RunTeacher:
    """A `Teacher` that a run of ours trained: its best weights, in PyTorch."""

    def __init__(self, network: Network, run: Run, device: torch.device) -> None:
        task = run.setting.task
        self.labels, self.maps = task.classes, task.maps
        self._network, self._size_wh = network, task.input.size
        self._normalise = Normalise(task.input)
        self._logits = run.setting.engine.exporter in ("classifier", "semantic")
        network.module.to(device).eval()

    @classmethod
    def of(cls, run: Run, device: torch.device) -> RunTeacher:
        """Build the network of a run. Raises what building it raises."""
        setting = run.setting
        network = table.adapter(setting.engine, module_of(run), setting.task)
        return cls(network, run, device)

    def see(self, pictures: Tensor) -> list[Perception]:
        """Return what it sees in pictures (B,3,h,w) uint8 RGB, boxes in their px."""
        size_wh = (int(pictures.shape[3]), int(pictures.shape[2]))
        boxes = [Letterbox.stretch(size_wh, self._size_wh)] * len(pictures)
        with torch.no_grad():
            return self._network.predict(self._fitted(pictures), boxes)

    def scores(self, pictures: Tensor) -> list[Tensor] | None:
        """Return its scores, for classes of pictures and of pixels."""
        if not self._logits:
            return None
        with torch.no_grad():
            return class_scores(self._network.module(self._normalise(self._fitted(pictures))))

    def close(self) -> None:
        """Nothing has to be given back."""

    def _fitted(self, pictures: Tensor) -> Tensor:
        width, height = self._size_wh
        if tuple(pictures.shape[2:]) == (height, width):
            return pictures
        sized = interpolate(pictures.float(), (height, width), mode="bilinear", align_corners=False, antialias=True)
        return sized.round().clamp(0, 255).to(torch.uint8)


def teacher_of(name: str, data: Mapping[str, Any] | None, device: torch.device) -> EngineTeacher | RunTeacher:
    """Return the teacher behind a model's name or path, or the folder of a run.

    Raises `UsageError`, `ManifestError` and what building an engine raises.
    """
    if is_run(Path(name)):
        return RunTeacher.of(Run.read(Path(name), data), device)
    return EngineTeacher.of(manifests.load(name))
