"""A set of labelled pictures -> batches, decoded and varied in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from streamvision.capture.picture import ArrayPicture, fit_letterbox
from streamvision.dataset import Dataset, label_map, rgb
from streamvision.errors import StreamvisionError
from streamvision.train.augmentation import Augmentation
from streamvision.train.batches import Batch
from streamvision.train.data.augment import Plan, augmented
from streamvision.train.data.order import cut, epoch_order, picture_rng
from streamvision.train.data.sample import Sample, Stored, affine, blank, paint
from streamvision.train.data.store import Store
from streamvision.train.networks import Target
from streamvision.types import Fit, InputSpec

_PREFETCH = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One picture's place: which epoch, where in it, and which example."""

    epoch: int
    position: int
    index: int


class Batches:
    """Batches of ``dataset`` in ``size_wh``, for one process (``rank`` of ``world``).

    With ``augment`` the order is drawn anew for every epoch, pictures are varied, and the last batch is filled up with
    pictures of the epoch's beginning, varied otherwise. Without, pictures come in the set's order, fitted as an engine
    fits them (``fit``, ``pad``), each exactly once; the last batch may be smaller. Letterboxes say how a picture was
    fitted; of varied ones they say it without the variation.

    ``masks``: whether targets carry the objects' bitmaps. ``shown``: how many times each example appears in an epoch
    (1). ``calm_from``: the epoch from which there is no mosaic and no mixup. ``workers``: processes; 0 for none.
    ``cache_mb``: how much memory decoded pictures may take. Order and variation depend on seed, epoch and position
    alone, never on the number of workers.
    """

    def __init__(
        self,
        dataset: Dataset,
        size_wh: tuple[int, int],
        batch: int,
        augment: Augmentation | None = None,
        seed: int = 0,
        workers: int = 0,
        fit: Fit = Fit.LETTERBOX,
        pad: int = 114,
        *,
        masks: bool = False,
        rank: int = 0,
        world: int = 1,
        cache_mb: int = 0,
        calm_from: int | None = None,
        shown: Sequence[float] | None = None,
    ) -> None:
        self.dataset = dataset
        self._spec = InputSpec(size_wh, fit, pad=pad)
        self._varied, self._seed = augment is not None, seed
        counts = np.ones(len(dataset)) if shown is None else np.asarray(shown, np.float64)
        self._shown: NDArray[np.float64] = counts
        count = max(1, round(float(counts.sum()))) if self._varied else len(dataset)
        self._count = count
        self._cut = cut(count, batch, rank, world, wrap=self._varied)
        plan = Plan(size_wh, fit, pad, tuple(dataset.maps), masks)
        self._maker = _Maker(
            Store(dataset, size_wh, cache_mb << 20 if self._varied else 0), plan, augment, seed, calm_from
        )
        self._sampler: list[list[Place]] = []
        self._loader = self._make_loader(workers)

    def __len__(self) -> int:
        """Return how many batches an epoch has, for this process."""
        return len(self._cut)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from number ``first`` on.

        Raises `BrokenMedia` for a picture that cannot be decoded.
        """
        order = epoch_order(self._shown, self._seed, number) if self._varied else np.arange(self._count)
        self._sampler[:] = [
            [Place(number, position, int(order[position % self._count])) for position in positions]
            for positions in self._cut[first:]
        ]
        for packed in self._loader:
            if isinstance(packed, StreamvisionError):
                raise packed
            yield self._unpacked(*packed)

    def _make_loader(self, workers: int) -> Any:
        options: dict[str, Any] = {}
        if workers:  # forked, because only forked workers share the cache
            options = {"persistent_workers": True, "prefetch_factor": _PREFETCH, "multiprocessing_context": "fork"}
        return DataLoader(
            self._maker, batch_sampler=self._sampler, num_workers=workers, collate_fn=pack,
            worker_init_fn=_start_worker, generator=torch.Generator(), **options,  # leaves torch's own numbers alone
        )  # fmt: skip

    def _unpacked(self, pictures: Tensor, rows: list[_Row]) -> Batch:
        examples = tuple(self.dataset.examples[row.index] for row in rows)
        letterboxes = tuple(fit_letterbox(example.size_wh, self._spec) for example in examples)
        return Batch(pictures, tuple(row.target() for row in rows), letterboxes, examples)


class _Maker:
    """What a worker does: a place -> a sample. An error of ours is returned, since a traceback is no answer."""

    def __init__(
        self, store: Store, plan: Plan, options: Augmentation | None, seed: int, calm_from: int | None
    ) -> None:
        self._store, self._plan, self._options = store, plan, options
        self._seed, self._calm_from = seed, calm_from

    def __getitem__(self, place: Place) -> Sample | StreamvisionError:
        try:
            if self._options is None:
                return plain(self._store.dataset, place.index, self._plan)
            rng = picture_rng(self._seed, place.epoch, place.position)
            calm = self._calm_from is not None and place.epoch >= self._calm_from
            return augmented(place.index, self._store.load, len(self._store), self._plan, self._options, rng, calm=calm)
        except StreamvisionError as error:
            return error


def plain(dataset: Dataset, index: int, plan: Plan) -> Sample:
    """Return an example as an engine will see it."""
    example = dataset.examples[index]
    pixels = rgb(example.path)
    spec = InputSpec(plan.size_wh, plan.fit, pad=plan.pad)
    prepared, letterbox = ArrayPicture(pixels).prepare(spec)
    sample = blank(plan.size_wh, plan.pad, plan.maps, masks=plan.masks)
    sample.known, sample.label, sample.index = example.objects is not None, example.label, index
    maps = {name: label_map(dataset, example, name) for name in example.label_maps if name in dataset.maps}
    stored = Stored(pixels, example.size_wh, example.objects, maps, example.label)
    matrix = affine(letterbox.scale_xy, letterbox.offset_xy)
    paint(sample, stored, matrix, (0, 0, *plan.size_wh), keep=0.0)
    sample.rgb = prepared
    return sample


@dataclass(frozen=True, slots=True)
class _Row:
    """What a picture shows, on its way between processes: arrays cost no file descriptor, as tensors would."""

    index: int
    xyxy: Any
    labels: Any
    ignore: Any
    known: bool
    masks: Any
    maps: dict[str, Any]
    label: int | None

    def target(self) -> Target:
        masks = None if self.masks is None else torch.from_numpy(self.masks).bool()
        maps = {name: torch.from_numpy(raster) for name, raster in self.maps.items()}
        boxes, labels, ignore = (torch.from_numpy(one) for one in (self.xyxy, self.labels, self.ignore))
        return Target(boxes, labels, ignore, self.known, masks, maps, self.label)


def pack(samples: Sequence[Sample | StreamvisionError]) -> tuple[Tensor, list[_Row]] | StreamvisionError:
    """Return the pictures as one tensor (B,3,h,w) and the rest as it is; an error is all that is left of a batch."""
    rows, pictures = [], []
    for sample in samples:
        if isinstance(sample, StreamvisionError):
            return sample
        pictures.append(sample.rgb.transpose(2, 0, 1))
        rows.append(
            _Row(sample.index, sample.xyxy, sample.labels, sample.ignore, sample.known, sample.masks, sample.maps,
                 sample.label)
        )  # fmt: skip
    return torch.from_numpy(np.stack(pictures)), rows


def _start_worker(number: int) -> None:
    """Keep a worker to one core: there are as many of them as there are cores to spare."""
    del number
    torch.set_num_threads(1)
