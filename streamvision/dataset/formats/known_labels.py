"""What the indices of well-known data sets' label pictures mean, from the data sets' own descriptions."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Known:
    """Class names from index 0 on, indices that mean nothing, and a mapping of indices to classes where they differ."""

    names: tuple[str, ...]
    ignore: tuple[int, ...] = ()
    mapping: dict[int, int] = field(default_factory=dict)


CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

KNOWN: dict[str, Known] = {
    # The 11 classes of SegNet (Badrinarayanan et al., 2015) on CamVid (Brostow et al., 2009).
    "camvid": Known(
        ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
        ignore=(11,),
    ),
    # Cordts et al., "The Cityscapes Dataset", 2016: 19 train ids, and the ids of the raw label pictures.
    "cityscapes": Known(CITYSCAPES, ignore=(255,)),
    "cityscapes-ids": Known(
        CITYSCAPES,
        ignore=tuple(index for index in range(34) if index not in _CITYSCAPES_IDS),
        mapping={index: train for train, index in enumerate(_CITYSCAPES_IDS)},
    ),
    # Varma et al., "IDD: A Dataset for Exploring Problems of Autonomous Navigation", 2018: level 1 of its hierarchy.
    "idd-lite": Known(
        ("drivable", "non-drivable", "living thing", "vehicle", "roadside object", "far object", "sky"), ignore=(255,)
    ),
    "voc": Known(
        ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
         "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
        ignore=(255,),
    ),
}  # fmt: skip
