"""The classes of networks that are trained, as small as they can be while every part of them is still there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torchvision import models
from torchvision.models import detection, segmentation, vgg
from torchvision.models import inception as inception_parts
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from streamvision.export import recipes, registry

WIDE = 32
_SIDES = (16, 24)
_CLASSES = 3
"""Discs, squares and the background."""


class Backbone(nn.Module):
    """Two levels at strides 8 and 16, with a feature pyramid."""

    out_channels = WIDE

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([_block(3, 24, 8), _block(24, 48, 2)])
        self.fpn = FeaturePyramidNetwork([24, 48], WIDE)

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        maps, x = OrderedDict(), picture
        for name, block in enumerate(self.body):
            maps[str(name)] = x = block(x)
        return self.fpn(maps)


def _block(wide: int, out: int, stride: int) -> nn.Module:
    layers: list[nn.Module] = []
    while stride > 1:
        layers += [nn.Conv2d(wide, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        wide, stride = out, stride // 2
    return nn.Sequential(*layers, nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _anchors() -> AnchorGenerator:
    return AnchorGenerator(tuple((side,) for side in _SIDES), ((1.0,),) * len(_SIDES))


_LIMITS = {
    "rpn_pre_nms_top_n_train": 80, "rpn_post_nms_top_n_train": 32, "rpn_pre_nms_top_n_test": 80,
    "rpn_post_nms_top_n_test": 32, "box_batch_size_per_image": 32,
}  # fmt: skip


def _two_stage() -> dict[str, object]:
    return {
        "rpn_anchor_generator": _anchors(), "box_head": TwoMLPHead(WIDE * 25, 64),
        "box_roi_pool": MultiScaleRoIAlign(["0", "1"], 5, 2), **_LIMITS,
        "box_predictor": detection.faster_rcnn.FastRCNNPredictor(64, _CLASSES),
    }  # fmt: skip


def faster_rcnn() -> nn.Module:
    return detection.FasterRCNN(Backbone(), **_two_stage())


def mask_rcnn() -> nn.Module:
    return detection.MaskRCNN(
        Backbone(), **_two_stage(), mask_roi_pool=MultiScaleRoIAlign(["0", "1"], 8, 2),
        mask_head=MaskRCNNHeads(WIDE, (WIDE, WIDE), 1), mask_predictor=MaskRCNNPredictor(WIDE, WIDE, _CLASSES),
    )  # fmt: skip


def retinanet() -> nn.Module:
    # With the norms of its second version it learns in a tenth of the steps.
    head = RetinaNetHead(WIDE, 1, _CLASSES, norm_layer=partial(nn.GroupNorm, 8))
    return detection.RetinaNet(Backbone(), _CLASSES, anchor_generator=_anchors(), head=head)


def plain_retinanet() -> nn.Module:
    """Its first version, whose head has no norms."""
    return detection.RetinaNet(Backbone(), _CLASSES, anchor_generator=_anchors())


def fcos() -> nn.Module:
    places = AnchorGenerator(((8,), (16,)), ((1.0,),) * 2)
    return detection.FCOS(Backbone(), _CLASSES, anchor_generator=places)


def _ssd(head: Callable[..., nn.Module]) -> nn.Module:
    boxes = DefaultBoxGenerator([[]] * 2, scales=[0.25, 0.35, 0.5])
    counts = boxes.num_anchors_per_location()
    return detection.ssd.SSD(Backbone(), boxes, (64, 64), _CLASSES, head=head([WIDE] * 2, counts, _CLASSES))


def ssd() -> nn.Module:
    return _ssd(detection.ssd.SSDHead)


def ssdlite() -> nn.Module:
    return _ssd(partial(SSDLiteHead, norm_layer=nn.BatchNorm2d))


def _layers(wide: int = 64) -> nn.Module:
    """A backbone for torchvision's segmenters: ``aux`` at stride 2, ``out`` at 4."""
    blocks = OrderedDict(low=_block(3, 24, 2), out=_block(24, wide, 2))
    return IntermediateLayerGetter(nn.Sequential(blocks), {"low": "aux", "out": "out"})


def deeplabv3() -> nn.Module:
    head = nn.Sequential(ASPP(64, (2, 4, 6), out_channels=WIDE), nn.Conv2d(WIDE, _CLASSES, 1))
    return segmentation.DeepLabV3(_layers(), head, FCNHead(24, _CLASSES))


def fcn() -> nn.Module:
    return segmentation.FCN(_layers(), FCNHead(64, _CLASSES))


def lraspp() -> nn.Module:
    blocks = OrderedDict(low=_block(3, 24, 4), high=_block(24, 64, 2))
    backbone = IntermediateLayerGetter(nn.Sequential(blocks), {"low": "low", "high": "high"})
    return segmentation.LRASPP(backbone, 24, 64, _CLASSES, 32)


def _smp(architecture: str, **options: object) -> nn.Module:
    recipe = recipes.find(f"smp:{architecture}/resnet18").model_copy(update={"arguments": options})
    return registry.build(recipe, None, _CLASSES).module


def unet() -> nn.Module:
    return _smp("unet", encoder_depth=3, decoder_channels=(32, 24, 16))


def pspnet() -> nn.Module:
    return _smp("pspnet", psp_out_channels=64, encoder_depth=2, upsampling=4)


def deeplabv3plus() -> nn.Module:
    return _smp("deeplabv3plus", decoder_channels=32)


def twinlitenet() -> nn.Module:
    return registry.build(recipes.load("twinlitenet"), None, None).module


def vgg16() -> nn.Module:
    module = vgg.VGG(vgg.make_layers([16, "M", 32, "M", 32, "M"], batch_norm=True), num_classes=2, init_weights=False)
    module.classifier = nn.Sequential(nn.Linear(32 * 49, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 2))
    return module


def resnet() -> nn.Module:
    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=2, width_per_group=16)


def mobilenetv3() -> nn.Module:
    # Its own normalisations follow so slowly (0.01 a step) that a hundred steps are too few.
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)
    return models.mobilenet_v3_small(num_classes=2, width_mult=0.5, norm_layer=norm)


class _SmallHelper(nn.Module):
    """Inception's helper head asks for pictures of 299 px; this one does not."""

    def __init__(self, wide: int, classes: int, conv_block: object = None) -> None:
        super().__init__()
        self.last = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.mean((2, 3)))


def inception() -> nn.Module:
    parts = inception_parts
    blocks = [
        parts.BasicConv2d, parts.InceptionA, parts.InceptionB, parts.InceptionC, parts.InceptionD, parts.InceptionE,
        _SmallHelper,
    ]  # fmt: skip
    return parts.Inception3(num_classes=2, transform_input=True, inception_blocks=blocks, init_weights=False)
