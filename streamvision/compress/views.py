"""Everything that a network computes from one picture, as plain tensors: what is traced, counted and compared.

Detectors of torchvision end in steps whose results depend on the picture (thresholds, suppression, regions). Here they
end before those; what looks at regions is given a part of every feature map instead, so that it belongs to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d


def outputs(module: Any, picture: Tensor) -> list[Tensor]:
    """Return the tensors that a network makes of normalised pictures (n,3,h,w); needs no particular mode."""
    if hasattr(module, "rpn") and hasattr(module, "roi_heads"):
        return _two_stage(module, picture)
    if hasattr(module, "backbone") and hasattr(module, "anchor_generator"):
        return _dense(module.head, list(module.backbone(picture).values()))
    return _plain(module, picture)


def _plain(module: Any, picture: Tensor) -> list[Tensor]:
    """Return what the module gives, and what a head gives that serves training alone (Inception's)."""
    if getattr(module, "AuxLogits", None) is None:
        return _flat(module(picture))
    seen: list[Tensor] = []
    hook = module.Mixed_6e.register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        found = _flat(module(picture))
    finally:
        hook.remove()
    return found if module.training else [*found, module.AuxLogits(seen[0])]


def _dense(head: Any, maps: list[Tensor]) -> list[Tensor]:
    """Return what the heads' last convolutions give, on every level; what comes after them only rearranges it."""
    found: list[Tensor] = []
    for branch in (head.classification_head, head.regression_head):
        if hasattr(branch, "module_list"):
            found += [layer(level) for layer, level in zip(branch.module_list, maps, strict=True)]
            continue
        last = [getattr(branch, name) for name in ("cls_logits", "bbox_reg", "bbox_ctrness") if hasattr(branch, name)]
        found += [layer(seen) for seen in map(branch.conv, maps) for layer in last]
    return found


def _two_stage(module: Any, picture: Tensor) -> list[Tensor]:
    features = module.backbone(picture)
    maps, heads = list(features.values()), module.roi_heads
    names = heads.box_roi_pool.featmap_names
    cut = torch.cat([_regions(features[name], heads.box_roi_pool) for name in features if name in names])
    found = [*maps, *_flat(module.rpn.head(maps)), *_flat(heads.box_predictor(heads.box_head(cut)))]
    if heads.has_mask():
        cut = torch.cat([_regions(features[name], heads.mask_roi_pool) for name in features if name in names])
        found.append(heads.mask_predictor(heads.mask_head(cut)))
    return found


def _regions(feature: Tensor, pool: Any) -> Tensor:
    """Return a feature map in the size of a region."""
    return adaptive_avg_pool2d(feature, pool.output_size)


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, nn.Module) or value is None:
        return []
    return [tensor for each in value for tensor in _flat(each)]
