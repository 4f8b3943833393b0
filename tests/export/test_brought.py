"""Networks as users bring them, made with PyTorch in the layouts of their exporters: adopted, compiled, and compared
with what PyTorch itself says, postprocessing included."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from streamvision.engine.adopt import Stated, propose
from streamvision.engine.decoders.yolox import anchor_grid
from streamvision.types import Detections
from tests.export import seen

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed: streamvision[train]"
)

SIZE = (96, 64)
CLASSES = 5
QUERIES = 20
STRIDES = (8, 16, 32)
LABELS = tuple("abcde")
Rows = tuple[Any, Any, Any]
"""Boxes xyxy (N,4), scores (N,), classes (N,) of one picture, as tensors."""


def trunk() -> Any:
    """Three levels of features, 16 channels each."""
    from torch import nn

    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.SiLU())
            self.down = nn.ModuleList(nn.Sequential(nn.Conv2d(16, 16, 2, 2), nn.SiLU()) for _ in STRIDES[1:])

        def forward(self, picture: Any) -> list[Any]:
            levels = [self.stem(picture)]
            for step in self.down:
                levels.append(step(levels[-1]))
            return levels

    return Trunk()


def anchors(layout: str) -> Any:
    """A YOLO head without anchors: v5, v8 or YOLOX rows, or the best ones as v10 gives them."""
    import torch
    from torch import nn

    grid, stride = map(torch.from_numpy, anchor_grid(SIZE, STRIDES))

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk()
            self.head = nn.ModuleList(nn.Conv2d(16, 5 + CLASSES, 1) for _ in STRIDES)

        def forward(self, picture: Any) -> Any:
            levels = self.trunk(picture / 255 if layout == "yolox" else picture)  # YOLOX takes pixels as they are
            parts = [head(level).flatten(2) for head, level in zip(self.head, levels, strict=True)]
            rows = torch.cat(parts, 2).transpose(1, 2)
            box, scores = rows[..., :4], (rows[..., 4:] * 6).sigmoid()
            if layout == "yolox":
                return torch.cat((box, scores), 2)
            pixels = torch.cat(((box[..., :2] + 0.5 + grid) * stride, box[..., 2:].exp() * stride * 2), 2)
            if layout == "v8":
                return torch.cat((pixels, scores[..., 1:]), 2).transpose(1, 2)
            best, label = scores[..., 1:].max(2, keepdim=True)
            corners = torch.cat((pixels[..., :2] - pixels[..., 2:] / 2, pixels[..., :2] + pixels[..., 2:] / 2), 2)
            finished = torch.cat((corners, best, label.float()), 2)
            top = best[..., 0].topk(QUERIES).indices[..., None].expand(-1, -1, 6)
            return finished.gather(1, top)

    return Head()


def queries(masks: bool, columns: int) -> Any:
    """A small DETR: queries attend to the coarsest features."""
    import torch
    from torch import nn

    class Detr(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk()
            self.queries = nn.Parameter(torch.randn(QUERIES, 16) * 3)
            self.mix = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
            self.classes, self.boxes = nn.Linear(16, columns), nn.Linear(16, 4)

        def forward(self, picture: Any) -> Any:
            fine, _, coarse = self.trunk(picture)
            memory = coarse.flatten(2)
            attention = (self.queries @ memory).softmax(2) @ memory.transpose(1, 2)
            found = self.mix(attention + self.queries)
            boxes, logits = self.boxes(found).sigmoid() * 0.8 + 0.1, self.classes(found) * 3
            if masks:
                return boxes, logits, torch.einsum("bqc,bchw->bqhw", found, fine)
            return logits, boxes

    return Detr()


def suppressed(boxes: Any, scores: Any, least: float) -> Rows:
    """PyTorch's own suppression of the best class of each row; boxes are centre and size."""
    from torchvision.ops import batched_nms, box_convert

    score, label = scores.max(1)
    sure = score >= least
    xyxy = box_convert(boxes[sure], "cxcywh", "xyxy")
    keep = batched_nms(xyxy, score[sure], label[sure], 0.45)
    return xyxy[keep], score[sure][keep], label[sure][keep]


def read_v8(out: Any, least: float) -> Rows:
    return suppressed(out[:4].T, out[4:].T, least)


def read_yolox(out: Any, least: float) -> Rows:
    import torch

    grid, stride = map(torch.from_numpy, anchor_grid(SIZE, STRIDES))
    boxes = torch.cat(((out[:, :2] + grid) * stride, out[:, 2:4].exp() * stride), 1)
    return suppressed(boxes, out[:, 5:] * out[:, 4:5], least)


def read_v10(out: Any, least: float) -> Rows:
    sure = out[out[:, 4] >= least]
    return sure[:, :4], sure[:, 4], sure[:, 5].long()


def read_queries(softmax: bool) -> Callable[..., Rows]:
    import torch
    from torchvision.ops import box_convert

    def read(logits: Any, boxes: Any, least: float) -> Rows:
        xyxy = box_convert(boxes, "cxcywh", "xyxy") * torch.tensor(SIZE * 2)
        if softmax:
            score, label = logits.softmax(1)[:, :-1].max(1)
            return xyxy[score >= least], score[score >= least], label[score >= least]
        query, label = (logits[:, :CLASSES].sigmoid() >= least).nonzero(as_tuple=True)
        return xyxy[query], logits[query, label].sigmoid(), label

    return read


REST = {"colour": "rgb", "normalise": "unit", "fit": "stretch"}
KINDS: dict[str, tuple[Callable[[], Any], list[str], Stated, Callable[..., Rows]]] = {
    "v8": (lambda: anchors("v8"), ["output0"], Stated(LABELS), read_v8),
    "yolox": (lambda: anchors("yolox"), ["output"], Stated(LABELS), read_yolox),
    "v10": (lambda: anchors("v10"), ["output0"], Stated(LABELS), read_v10),
    "rt-detr": (
        lambda: queries(False, CLASSES), ["pred_logits", "pred_boxes"], Stated(LABELS),
        lambda out, least: read_queries(False)(out[0], out[1], least),
    ),
    "detr": (
        lambda: queries(False, CLASSES + 1), ["logits", "pred_boxes"],
        Stated(LABELS, options={"activation": "softmax"}, **REST),
        lambda out, least: read_queries(True)(out[0], out[1], least),
    ),
    "rf-detr-seg": (
        lambda: queries(True, CLASSES + 1), ["dets", "labels", "masks"], Stated(LABELS),
        lambda out, least: read_queries(False)(out[1], out[0], least),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def brought(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    """A network's kind, its module, and the manifest that was worked out of its file."""
    import torch

    from streamvision.export.package import save_network

    torch.manual_seed(3)
    torch.set_num_threads(1)
    make, names, stated, _ = KINDS[request.param]
    folder, module = tmp_path_factory.mktemp(request.param), make().eval()
    path = folder / "brought.onnx"
    save_network(module, [torch.zeros(1, 3, SIZE[1], SIZE[0])], path, names, ["images"])
    document: dict[str, Any] = {**propose(path, "brought", stated).document}
    path.rename(folder / document["file"]["name"])
    with (folder / "brought.yaml").open("w") as file:
        YAML().dump(document, file)
    return request.param, module, folder / "brought.yaml"


@pytest.mark.parametrize("backend", seen.BACKENDS)
def test_an_adopted_network_sees_what_pytorch_sees(brought: tuple[str, Any, Path], backend: str) -> None:
    import torch

    from streamvision.engine import manifest

    kind, module, path = brought
    read = KINDS[kind][3]
    shown = seen.pictures(SIZE, 4)
    with torch.inference_mode():
        out = module(seen.prepared(manifest.load(path).input, shown))
    pictures = [out[item] if torch.is_tensor(out) else tuple(each[item] for each in out) for item in range(4)]
    least = between([read(each, 0.02)[1] for each in pictures])
    theirs = [visible(*read(each, least)) for each in pictures]
    alone, together = seen.perceived(path, backend, [shown[:1], shown], min_score=least)
    assert sum(map(len, theirs)) > 8
    for ours, expected in zip([*alone, *together], [theirs[0], *theirs], strict=True):
        seen.assert_same(ours.detections, expected)
        assert (ours.detections.masks is not None) == (kind == "rf-detr-seg")


def between(scores: list[Any]) -> float:
    """A threshold that no score comes near, about the fortieth from the top."""
    import torch

    ordered = torch.cat(scores).sort(descending=True).values[:60].tolist()
    gaps = [ordered[at] - ordered[at + 1] for at in range(8, len(ordered) - 1)]
    at = 8 + int(np.argmax(gaps))
    return (ordered[at] + ordered[at + 1]) / 2


def visible(boxes: Any, scores: Any, labels: Any) -> Detections:
    xyxy = np.clip(boxes.numpy(), 0, np.array(SIZE * 2, np.float32))
    some = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    return Detections(xyxy[some], scores.numpy()[some], labels.numpy()[some].astype(np.int32))


def test_tensorrt_s_compiler_takes_it(brought: tuple[str, Any, Path]) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")
    from tests.export.test_tensorrt_compiles import compiled

    (file,) = brought[2].parent.glob("*.onnx")
    assert all(-1 not in shape[1:] for shape in compiled(file))
