"""`sv-street` in training: what its outputs should have been, and what it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.street import StreetDecoder
from streamvision.export.recipes import Recipe
from streamvision.export.street.graph import OUTPUTS, Finished, doubled
from streamvision.export.street.network import StreetNet, boxes_at, channels_of, places
from streamvision.geometry import Letterbox
from streamvision.train.networks import Target
from streamvision.train.networks.street.assignment import Assigned, Objects, Rules, assign
from streamvision.train.networks.street.boxes import giou_loss
from streamvision.train.networks.street.losses import UNLABELLED, box_loss, class_loss, map_loss, shares
from streamvision.types import Perception

_BOX_WEIGHT, _MAP_WEIGHT = 4.0, 1.0


class StreetNetwork:
    """The `Network` of a `StreetNet`.

    ``maps``: the names of its label maps and their classes, in the module's order; ``options``: the decoder's.
    """

    def __init__(
        self,
        module: StreetNet,
        maps: Mapping[str, Sequence[str]],
        options: Mapping[str, Any] | None = None,
        rules: Rules | None = None,
    ) -> None:
        if module.maps != tuple(len(classes) for classes in maps.values()):
            raise ValueError(f"the network makes maps of {module.maps} classes, not {dict(maps)}")
        self.module = module
        self._maps = {name: tuple(classes) for name, classes in maps.items()}
        self._options = StreetDecoder.Options.model_validate(options or {})
        self._rules = rules or Rules()

    @classmethod
    def of(cls, module: StreetNet, recipe: Recipe) -> StreetNetwork:
        """Return the network that a recipe's module is."""
        return cls(module, recipe.segmentation, recipe.decoder)

    def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the losses ``class`` and ``box``, and one for each label map by its name.

        pictures: (B,3,h,w) uint8 RGB on the module's device, sides multiples of 32.
        """
        logits, distances, maps = self.module(_normalised(pictures))
        with torch.autocast(pictures.device.type, enabled=False):
            found = self._object_losses(logits.float(), distances.float(), targets, _size_wh(pictures))
            return found | self._map_losses(maps.float(), targets)

    def predict(self, pictures: Tensor, letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return what the network sees, in source px, read by the decoder that the engine uses."""
        size_wh = _size_wh(pictures)
        with torch.no_grad():
            finished = Finished(self.module, size_wh).to(pictures.device)
            outputs = [_numpy(output) for output in finished(_normalised(pictures))]
        shape = NetworkShape(
            model="sv-street", input_wh=size_wh, classes=self.module.classes,
            outputs=tuple(output.shape for output in outputs), names=(*OUTPUTS, *self._maps), segmentation=self._maps,
        )  # fmt: skip
        return StreetDecoder(self._options, shape).decode(outputs, letterboxes)

    def _object_losses(
        self, logits: Tensor, distances: Tensor, targets: Sequence[Target], size_wh: tuple[int, int]
    ) -> dict[str, Tensor]:
        centres = places(size_wh)[0].to(logits.device)
        boxes = boxes_at(centres, distances)
        objects = padded(targets)
        assigned = assign(logits.detach().sigmoid(), boxes.detach(), centres, objects, self._rules)
        wanted, counts = class_targets(assigned, objects, targets, centres, self.module.classes)
        picture, place = torch.nonzero(assigned.index >= 0, as_tuple=True)
        true = objects.boxes[picture, assigned.index[picture, place]]
        each = giou_loss(boxes[picture, place], true)
        return {
            "class": class_loss(logits, wanted, counts),
            "box": _BOX_WEIGHT * box_loss(each, assigned.target[picture, place]),
        }

    def _map_losses(self, maps: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        if not self._maps:
            return {}
        parts = torch.split(doubled(maps), [channels_of(len(classes)) for classes in self._maps.values()], 1)
        found = {}
        for (name, classes), logits in zip(self._maps.items(), parts, strict=True):
            height, width = logits.shape[2:]
            blank = torch.full((height * 2, width * 2), UNLABELLED, dtype=torch.uint8, device=maps.device)
            labels = torch.stack([target.label_maps.get(name, blank) for target in targets])
            found[name] = _MAP_WEIGHT * map_loss(logits, *shares(labels, len(classes), (height, width)))
        return found


def padded(targets: Sequence[Target]) -> Objects:
    """Return the objects that are to be found, without those that may be ignored."""
    kept = [
        (target.boxes[~target.ignore], target.labels[~target.ignore])
        if target.objects_known
        else (target.boxes[:0], target.labels[:0])
        for target in targets
    ]
    most = max(len(labels) for _, labels in kept)
    boxes = torch.stack([torch.cat((box, box.new_zeros(most - len(box), 4))) for box, _ in kept])
    labels = torch.stack([torch.cat((label, label.new_zeros(most - len(label)))) for _, label in kept])
    real = torch.stack([torch.arange(most, device=label.device) < len(label) for _, label in kept])
    return Objects(boxes.float(), labels, real)


def class_targets(
    assigned: Assigned, objects: Objects, targets: Sequence[Target], centres: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """Return what every place shall score for every class (B,N,C), and where that counts (B,N,C) bool.

    It does not count in pictures whose objects nobody looked for, and, for the class of an object that may be ignored,
    in places inside that object which learn no other of its class.
    """
    batch, count = assigned.index.shape
    wanted = assigned.target.new_zeros(batch, count, classes)
    counts = torch.ones_like(wanted, dtype=torch.bool)
    if objects.labels.shape[1]:
        label = objects.labels.gather(1, assigned.index.clamp(min=0))
        wanted.scatter_(2, label[..., None], assigned.target[..., None])
    for item, target in enumerate(targets):
        if not target.objects_known:
            counts[item] = False
        for box, label in zip(target.boxes[target.ignore], target.labels[target.ignore], strict=True):
            inside = ((centres >= box[:2]) & (centres <= box[2:])).all(1)
            counts[item, :, label] &= ~inside | (wanted[item, :, label] > 0)
    return wanted, counts


def _normalised(pictures: Tensor) -> Tensor:
    """Return uint8 pictures in 0-1, laid out as convolutions on a CPU like it best."""
    return (pictures.float() / 255).contiguous(memory_format=torch.channels_last)


def _size_wh(pictures: Tensor) -> tuple[int, int]:
    return int(pictures.shape[3]), int(pictures.shape[2])


def _numpy(output: Tensor) -> Any:
    whole = output if output.dtype == torch.uint8 else output.float()
    return whole.cpu().numpy()
