"""Random two-stage networks whose scores, boxes and masks spread."""

from __future__ import annotations

from typing import Any

import torch

from tests.export.networks import Size, pictures, settle, spread


def stir_two_stage(module: Any, size_wh: Size) -> None:
    """Proposals of every worth, classes that are sure, boxes that move, masks with a form."""
    view = list(pictures(size_wh) / 3)
    rpn, heads = module.rpn.head, module.roi_heads
    module.transform.min_size, module.transform.max_size = (min(size_wh),), max(size_wh)
    spread(lambda: module(view), {rpn.cls_logits: (0.0, 2.0), rpn.bbox_pred: (0.0, 0.3)})
    settle(module, size_wh, lambda _: module(view))
    spread(lambda: module(view), {heads.box_predictor.cls_score: (0.0, 3.0), heads.box_predictor.bbox_pred: (0.0, 1.0)})
    if heads.has_mask():
        spread(lambda: module(view), {heads.mask_predictor.mask_fcn_logits: (0.0, 3.0)})
