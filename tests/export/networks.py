"""Networks with random weights that see something: seeded, normalised by what they see, with scores that spread."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from streamvision.engine.manifest import ModelInput
from streamvision.export import registry
from streamvision.export.recipes import Recipe
from tests.export.seen import pictures, prepared

Size = tuple[int, int]


def random_network(recipe: Recipe, size_wh: Size, num_classes: int | None) -> nn.Module:
    """Build a recipe's network; the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(zlib.crc32(recipe.name.encode()))
        module: nn.Module = registry.build(recipe, None, num_classes).module
    view = prepared(ModelInput(size=size_wh, **recipe.input), pictures(size_wh, 2))
    settle(module, view, getattr(module, "backbone", module))
    STIR.get(recipe.exporter, lambda *_: None)(module, view)
    return module.eval()


def settle(module: nn.Module, view: torch.Tensor, run: Callable[[torch.Tensor], Any]) -> None:
    """Let every batch normalisation learn what it sees, or random weights grow from layer to layer without bound."""
    module.eval()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    usual = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 1.0
        layer.train()
    with torch.no_grad():
        run(view)
    for layer, momentum in zip(norms, usual, strict=True):
        layer.momentum = momentum
        layer.eval()
        layer.running_var.clamp_(min=1e-2)  # where there is one value per channel, it has no variance


def spread(run: Callable[[], Any], layers: Mapping[nn.Module, tuple[float, float]]) -> None:
    """Scale last layers such that their outputs have the wanted (mean, standard deviation) while ``run`` runs."""
    seen: dict[nn.Module, list[torch.Tensor]] = {layer: [] for layer in layers}
    hooks = [
        layer.register_forward_hook(lambda one, _, out: seen[one].append(out.detach().flatten())) for layer in layers
    ]
    with torch.no_grad():
        run()
        for layer, (mean, std) in layers.items():
            values = torch.cat(seen[layer])
            factor = std / float(values.std().clamp(min=1e-6))
            layer.weight.mul_(factor)
            if layer.bias is not None:
                layer.bias.mul_(factor).add_(mean - float(values.mean()) * factor)
    for hook in hooks:
        hook.remove()


def stir_dense(module: Any, view: torch.Tensor) -> None:
    """Scores around the threshold, boxes that leave their anchors, and no background where no picture teaches it."""
    head, classes, boxes = module.head, module.head.classification_head, module.head.regression_head
    single = hasattr(classes, "cls_logits")
    last = [classes.cls_logits] if single else [final(layer) for layer in classes.module_list]
    edges = [boxes.bbox_reg] if single else [final(layer) for layer in boxes.module_list]
    wanted = dict.fromkeys(last, (-3.0, 1.5) if single else (0.0, 2.5))
    wanted |= dict.fromkeys(edges, (0.5, 1.0))
    if hasattr(boxes, "bbox_ctrness"):
        wanted[boxes.bbox_ctrness] = (0.0, 1.5)
    with torch.no_grad():
        features = list(module.backbone(view).values())
    spread(lambda: head(features), wanted)
    if single:
        with torch.no_grad():
            classes.cls_logits.bias.view(-1, classes.num_classes)[:, 0] = -30.0


def final(layer: nn.Module) -> nn.Module:
    """The convolution that gives a branch's values."""
    return [one for one in layer.modules() if isinstance(one, nn.Conv2d)][-1]


def stir_classifier(module: Any, view: torch.Tensor) -> None:
    """Logits far enough apart that one class is not as likely as every other."""
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    last = [layer for name, layer in layers.items() if not name.startswith("AuxLogits")][-1]
    spread(lambda: module(view), {last: (0.0, 3.0)})


def stir_two_stage(module: Any, view: torch.Tensor) -> None:
    """Proposals of every worth, but few; each class somewhere, boxes that move, masks with a form."""
    module.rpn._post_nms_top_n = dict.fromkeys(("training", "testing"), 40)
    module.roi_heads.detections_per_img = 20
    padding = view.shape[2] * 3 // 4
    view = torch.cat([view, torch.where(torch.arange(view.shape[2])[:, None] < padding, view, 0.0)])
    if hasattr(module.backbone.body, "layer4"):
        calm(module)
    else:
        settle(module, view, module.backbone)
    rpn, heads = module.rpn.head, module.roi_heads
    even(lambda: second_look(module, view), {rpn.cls_logits: 2.0, rpn.bbox_pred: 0.3})
    even(lambda: second_look(module, view), {heads.box_predictor.cls_score: 2.0, heads.box_predictor.bbox_pred: 1.0})
    if heads.has_mask():
        even(lambda: second_look(module, view), {heads.mask_predictor.mask_fcn_logits: 3.0})


def calm(module: nn.Module) -> None:
    """Let batch normalisations do nothing: a residual network needs none, and its rounding errors stay small."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()


def even(run: Callable[[], Any], layers: Mapping[Any, float]) -> None:
    """Give every channel of last layers the mean 0 and the wanted standard deviation: no class wins everywhere."""
    seen: dict[Any, torch.Tensor] = {}
    hooks = [layer.register_forward_hook(lambda one, _, out: seen.update({one: out.detach()})) for layer in layers]
    with torch.no_grad():
        run()
        for layer, std in layers.items():
            values = seen[layer].transpose(0, 1).flatten(1)
            factor = std / values.std(1).clamp(min=1e-6)
            layer.weight.mul_(factor.view(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias.sub_(values.mean(1)).mul_(factor)
    for hook in hooks:
        hook.remove()


def second_look(module: Any, view: torch.Tensor) -> Any:
    """What a two-stage network finds in normalised pictures, without its own preparation."""
    from torchvision.models.detection.image_list import ImageList

    images = ImageList(view, [(view.shape[2], view.shape[3])] * len(view))
    features = module.backbone(view)
    return module.roi_heads(features, module.rpn(images, features)[0], images.image_sizes)


def stir_semantic(module: Any, view: torch.Tensor) -> None:
    """Every class wins somewhere."""
    settle(module, view, module)
    for name, layer in module.named_modules():
        if name in LAST_SCORES:
            layer.bias.data.zero_()
            spread(lambda: module(view), {layer: (0.0, 2.0)})


LAST_SCORES = {"classifier.4", "classifier.low_classifier", "classifier.high_classifier", "segmentation_head.0"}
"""Convolutions whose output is a score per class, in networks of torchvision and segmentation-models-pytorch."""


def stir_street(module: Any, view: torch.Tensor) -> None:
    """Some objects in each picture, boxes of various sizes, maps that change from place to place."""
    settle(module, view, module)
    layers = {head.last: (-3.0, 1.5) for head in module.class_heads} | {
        head.last: (1.5, 0.7) for head in module.box_heads
    }
    spread(lambda: module(view), layers)
    if module.map_head is not None:
        even(lambda: module(view), {module.map_head.last: 2.0})


STIR: dict[str, Callable[[Any, torch.Tensor], None]] = {
    "dense": stir_dense,
    "classifier": stir_classifier,
    "semantic": stir_semantic,
    "street": stir_street,
    "two_stage": stir_two_stage,
}
"""By exporter: what makes a random network's answers various. Called with the module and normalised pictures."""
