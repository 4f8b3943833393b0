"""One moment on a road, complete: what `render` makes a picture of."""

from __future__ import annotations

from dataclasses import dataclass

from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.light import BGR, Light
from streamvision.capture.drawn.painter import Thing
from streamvision.capture.drive.cards import Card
from streamvision.capture.drive.road import Road
from streamvision.capture.drive.sky import Sky


@dataclass(frozen=True, slots=True)
class Shade:
    """Shadows on the road that nothing drawn throws.

    bands: from and to along s, of a bridge; sides: d beyond which trees dapple the road, left and right (None: no);
    dapple 0..1: how dense their shadow is.
    """

    bands: tuple[tuple[float, float], ...] = ()
    left_d: float | None = None
    right_d: float | None = None
    dapple: float = 0.0


@dataclass(frozen=True, slots=True)
class Air:
    """What lies between the road and the picture.

    metered: the brightness that the automatic exposure aims at (0-255); gain and gamma of the exposure, BGR gains of
    the white balance, saturation, contrast; noise (0-255) and blur in pixels of a 640 wide picture; rain 0..1
    (streaks and drops), wet 0..1 (how much the road mirrors), headlights 0..1.
    """

    metered: float = 100.0
    gain: float = 1.0
    gamma: float = 1.0
    balance: BGR = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    contrast: float = 1.0
    noise: float = 2.0
    blur: float = 0.0
    rain: float = 0.0
    wet: float = 0.0
    headlights: float = 0.0
    vignette: float = 0.0


@dataclass(frozen=True, slots=True)
class Cabin:
    """What of the own vehicle is in the picture.

    bonnet: height of its edge above the picture's bottom (share of the height; 0 none), how much it sags to the
    sides, its ink; reflection 0..1: how much the dashboard shows in the windscreen; wiper: angle in radians or None.
    """

    bonnet: float = 0.0
    sag: float = 0.3
    ink: BGR = (30.0, 30.0, 30.0)
    reflection: float = 0.0
    wiper: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Camera, road, what stands and drives there, light, weather; ``seed`` draws what is left to chance."""

    camera: Camera
    road: Road
    things: tuple[Thing, ...]
    cards: tuple[Card, ...]
    sky: Sky
    light: Light
    shade: Shade
    air: Air
    cabin: Cabin
    seed: int
    heading: float = 0.0
    moment: int = 0
    """Draws what changes from picture to picture: the sensor's noise, the rain."""
