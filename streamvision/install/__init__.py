"""Putting the service in place: unit files for this installation, as steps that can be shown before they are taken."""

from streamvision.install.steps import Folder, Link, Removal, Step, Text
from streamvision.install.units import (
    CONFIG,
    SERVICE,
    STATE,
    TARGET,
    Choice,
    below,
    drop_ins,
    installation,
    out_of_sight,
    removal,
)

__all__ = [
    "CONFIG",
    "SERVICE",
    "STATE",
    "TARGET",
    "Choice",
    "Folder",
    "Link",
    "Removal",
    "Step",
    "Text",
    "below",
    "drop_ins",
    "installation",
    "out_of_sight",
    "removal",
]
