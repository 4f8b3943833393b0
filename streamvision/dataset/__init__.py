"""Labelled pictures: what every format is read into, and what checks, training, evaluation and collection work on.

`read` makes a `Dataset` of a path in any known format. Pixels stay on disk; an `Example` says where they lie and what
they show, `pixels` reads them.
"""

from __future__ import annotations

from streamvision.dataset.options import DataOptions
from streamvision.dataset.pixels import label_map, rgb
from streamvision.dataset.read import join, load, read
from streamvision.dataset.splits import split
from streamvision.dataset.values import UNLABELLED, Dataset, Example, Objects, Outline

__all__ = [
    "UNLABELLED", "DataOptions", "Dataset", "Example", "Objects", "Outline", "join", "label_map", "load", "read", "rgb",
    "split",
]  # fmt: skip
