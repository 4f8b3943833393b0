"""Grad-CAM (Selvaraju et al., arXiv:1610.02391) by captum, where a network's PyTorch weights are at hand.

Captum, because it is maintained with PyTorch, explains any function of a module (a detection's score is one), and asks
for nothing that the extra ``train`` does not bring: numpy of any version, and no second OpenCV. What is differentiated
is the class's logit for classifiers and `sv-street`, the score of the matching detection for torchvision's detectors,
and the sum of the class's logits over its pixels for label maps (Vinogradova et al., Seg-Grad-CAM, arXiv:2002.11434).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from streamvision.engine.manifest import Manifest
from streamvision.errors import MissingError, UsageError
from streamvision.explain.hiding import inner
from streamvision.explain.runs import Trained
from streamvision.explain.saliency import Saliency
from streamvision.explain.targets import Area, Object, PictureClass, Target
from streamvision.export import recipes, registry
from streamvision.export.recipes import Recipe
from streamvision.export.segmentation import class_scores
from streamvision.geometry import Letterbox
from streamvision.types import Float32, Frame

Score = Callable[[Tensor], Tensor]
"""A network's input (1,3,h,w) -> what is differentiated (1,)."""

_WITH_BACKGROUND = ("dense", "two_stage")
_TRUNKS = ("backbone", "encoder")
"""What networks call the part that sees; the layers behind it only read its features off."""
_LEAST_SIDE = 2


def grad_cam(trained: Trained, manifest: Manifest, frame: Frame, target: Target, layer: str | None = None) -> Saliency:
    """Return the map of a target at a layer, by default the deepest one of the backbone that the score depends on.

    Values are 0 to 1; the score is what was differentiated, a logit for most. Raises `MissingError` without captum,
    `UsageError` for weights that do not fit the manifest, a layer that there is not, or a score that depends on none.
    """
    recipe = recipes.find(trained.network)
    if manifest.segmentation:
        recipe = recipe.model_copy(update={"segmentation": dict(manifest.segmentation)})
    module = registry.build(recipe, trained.weights, _classes(recipe, manifest)).module
    score = score_of(module, recipe, manifest, target, frame.letterbox)
    picture = network_input(frame, manifest)
    values, value = layer_map(module, score, picture, layer)
    found = np.ascontiguousarray(inner(values, frame.letterbox), np.float32)  # type: ignore[arg-type]
    return Saliency("gradcam", found, frame.letterbox, value)


def layer_map(module: nn.Module, score: Score, picture: Tensor, layer: str | None = None) -> tuple[Float32, float]:
    """Return the map (h,w) in [0,1], as large as the picture, and the value of the score; see `grad_cam`."""
    chosen = _layer(module, score, picture, layer)
    with torch.enable_grad():
        value = float(score(picture).detach()[0])
        weighted = _captum()(score, chosen).attribute(picture, relu_attributions=True)
    whole = functional.interpolate(weighted.detach(), picture.shape[2:], mode="bilinear", align_corners=False)[0, 0]
    largest = float(whole.max())
    return (whole / largest if largest > 0 else whole).numpy(), value


def network_input(frame: Frame, manifest: Manifest) -> Tensor:
    """Return a frame's pixels as the exported network gets them: (1,3,h,w) float32."""
    mean, std = manifest.input.normalisation
    pixels = (frame.pixels.astype(np.float32) - np.asarray(mean)) / np.asarray(std)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)).requires_grad_()


def score_of(module: nn.Module, recipe: Recipe, manifest: Manifest, target: Target, letterbox: Letterbox) -> Score:
    """Return what is differentiated. Raises `UsageError` for a target that a network of this kind does not have."""
    if recipe.exporter == "classifier" and isinstance(target, PictureClass):
        return lambda picture: module(picture)[:, target.class_id]
    if recipe.exporter in _WITH_BACKGROUND and isinstance(target, Object):
        return _torchvision_score(module, target, letterbox)
    if recipe.exporter == "street" and isinstance(target, Object):
        return _street_score(module, target, letterbox)
    if recipe.exporter in ("semantic", "street") and isinstance(target, Area):
        return _area_score(module, recipe, manifest, target, letterbox)
    raise UsageError(f"a network of the kind {recipe.exporter!r} has no such score", where=recipe.name)


def _torchvision_score(module: Any, target: Object, letterbox: Letterbox) -> Score:
    transform = module.transform
    transform.image_mean, transform.image_std = [0.0] * 3, [1.0] * 3  # the picture is normalised, and has its size
    transform._skip_resize, transform.size_divisible = True, 1
    box = torch.from_numpy(letterbox.to_model(np.asarray([target.xyxy], np.float32)))

    def score(picture: Tensor) -> Tensor:
        found = module(list(picture))[0]
        same = (found["labels"] == target.class_id + 1).float()
        match = _iou(box, found["boxes"].detach()) * found["scores"].detach() * same
        if not len(match) or match.max() <= 0:
            raise UsageError("the PyTorch network does not see this detection: are the weights the model's own?")
        return found["scores"][match.argmax()][None]

    return score


def _street_score(module: Any, target: Object, letterbox: Letterbox) -> Score:
    from streamvision.export.street.network import boxes_at, places

    box = torch.from_numpy(letterbox.to_model(np.asarray([target.xyxy], np.float32)))

    def score(picture: Tensor) -> Tensor:
        logits, distances, _ = module(picture)
        boxes = boxes_at(places((picture.shape[3], picture.shape[2]))[0], distances)[0].detach()
        own = logits[0, :, target.class_id]
        return own[(_iou(box, boxes) * own.detach().sigmoid()).argmax()][None]

    return score


def _area_score(module: Any, recipe: Recipe, manifest: Manifest, target: Area, letterbox: Letterbox) -> Score:
    from streamvision.export.street.network import channels_of

    names = list(manifest.segmentation)
    classes = manifest.segmentation[target.map]
    wanted = [index for index, name in enumerate(classes) if name in target.class_names]
    region = torch.from_numpy(target.raster(letterbox).astype(np.float32))

    def score(picture: Tensor) -> Tensor:
        output = module(picture)
        if recipe.exporter == "street":
            counts = [channels_of(len(each)) for each in manifest.segmentation.values()]
            logits = torch.split(output[2], counts, 1)[names.index(target.map)]
        else:
            logits = class_scores(output)[names.index(target.map)]
        logits = torch.cat((-logits, logits), 1) if logits.shape[1] == 1 else logits
        inside = functional.interpolate(region[None, None], logits.shape[2:], mode="area")[0, 0]
        labelled = sum((logits.argmax(1) == index).float() for index in wanted)
        return (logits[:, wanted].sum(1) * labelled * inside).sum((1, 2))

    return score


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    from torchvision.ops import box_iou

    return box_iou(box, boxes)[0]


def _classes(recipe: Recipe, manifest: Manifest) -> int:
    if recipe.exporter in _WITH_BACKGROUND:
        return len(manifest.labels) + 1
    if recipe.exporter == "semantic":
        counts = [len(classes) for classes in manifest.segmentation.values()]
        return counts[0] if len(counts) == 1 else recipe.classes
    return len(manifest.labels)


def _layer(module: nn.Module, score: Score, picture: Tensor, name: str | None) -> nn.Module:
    known = dict(module.named_modules())
    if name is not None:
        if name not in known:
            raise UsageError(f"the network has no layer {name!r}", where="--layer", remedy=f"such as {_some(known)}")
        return known[name]
    trunk = next((part for part in _TRUNKS if part in known), "")
    candidates = {each: part for each, part in known.items() if each.startswith(trunk) and isinstance(part, nn.Conv2d)}
    seen = _outputs(candidates, score, picture)
    for layer in reversed(seen):
        if layer is not None:
            return layer
    raise UsageError("the score depends on no layer whose gradient is known", where="--method")


def _outputs(candidates: dict[str, nn.Module], score: Score, picture: Tensor) -> list[nn.Module]:
    """Return the layers that run once and on which the score depends, in the order in which they run."""
    runs: dict[int, list[Tensor]] = {}
    order: list[nn.Module] = []

    def note(layer: nn.Module, _: Any, output: Tensor) -> None:
        runs.setdefault(id(layer), []).append(output)
        order.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in candidates.values()]
    try:
        with torch.enable_grad():
            value = score(picture)
            once = [layer for layer in order if len(runs[id(layer)]) == 1 and _is_map(runs[id(layer)][0])]
            if not once:
                return []
            outputs = [runs[id(layer)][0] for layer in once]
            gradients: Sequence[Tensor | None] = torch.autograd.grad(value.sum(), outputs, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return [layer for layer, one in zip(once, gradients, strict=True) if one is not None and bool(one.any())]


def _is_map(output: Tensor) -> bool:
    return output.requires_grad and output.dim() == 4 and len(output) == 1 and min(output.shape[2:]) >= _LEAST_SIDE


def _some(known: dict[str, nn.Module]) -> str:
    return ", ".join(name for name in list(known)[-3:] if name)


def _captum() -> Any:
    try:
        from captum.attr import LayerGradCam
    except ImportError as error:
        raise MissingError(
            f"Grad-CAM is made by captum, which cannot be imported: {error}", remedy="pip install 'streamvision[train]'"
        ) from error
    return LayerGradCam
