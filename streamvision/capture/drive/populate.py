"""What drives, walks, stands and grows along a road, placed by chance for a still picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from streamvision.capture.drawn.figures import any_figure
from streamvision.capture.drawn.painter import Thing
from streamvision.capture.drawn.parts import Figure
from streamvision.capture.drawn.riders import bicycle, motorcycle
from streamvision.capture.drive.plan import Lane, Plan
from streamvision.capture.drive.props import bridge, gantry, prop
from streamvision.capture.drive.road import Way

_TRAFFIC = ("car", "truck", "bus", "motorcycle", "bicycle")
_SHARES = {
    "motorway": (0.74, 0.18, 0.05, 0.03, 0.0), "country": (0.74, 0.12, 0.05, 0.05, 0.04),
    "city": (0.72, 0.08, 0.08, 0.06, 0.06), "avenue": (0.74, 0.08, 0.09, 0.05, 0.04),
    "lane": (0.6, 0.14, 0.03, 0.11, 0.12), "mixed": (0.36, 0.12, 0.1, 0.34, 0.08),
}  # fmt: skip
_FAR_M = 130.0
_AHEAD, _TOWARDS = np.pi / 2, -np.pi / 2
_RIDDEN = 300
"""How many different bicycles and motorcycles with riders there are."""
_SIGN, _LIGHT = "traffic sign", "traffic light"


@lru_cache(maxsize=1024)
def ridden(name: str, number: int) -> Figure:
    """Return one of the bicycles or motorcycles that somebody rides."""
    rng = np.random.default_rng([62, number])
    return bicycle(rng, ridden=True) if name == "bicycle" else motorcycle(rng, ridden=True)


def moving(name: str, rng: np.random.Generator) -> Figure:
    """Return any figure of a class as it is met on the road: nothing with two wheels goes by itself."""
    if name in ("bicycle", "motorcycle"):
        return ridden(name, int(rng.integers(_RIDDEN)))
    return any_figure(name, rng)


def put(way: Way, figure: Figure, s: float, d: float, turn: float = _AHEAD, up: float = 0.0) -> Figure:
    """Stand a figure on the road at (s, d); ``turn`` pi/2 looks along the road, -pi/2 against it, 0 to the right."""
    x, y, z = way.point(s, d, up).tolist()
    return figure.at(x, y, turn - float(way.angle(s)), z)


@dataclass(slots=True)
class Cast:
    """Things under way to a scene, with ids in the order of their coming."""

    rng: np.random.Generator
    plan: Plan
    way: Way
    things: list[Thing] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, name: str, figure: Figure, s: float, d: float, turn: float, up: float = 0.0) -> None:
        """Place something; it gets the next id if it is of a class."""
        number = len(self.things) + 1 if name else 0
        self.things.append(Thing(put(self.way, figure, s, d, turn, up), name, number))

    def free(self, s: float, d: float, long: float, wide: float) -> bool:
        """Reserve a place of the road (its middle, its size); False where something stands already."""
        here = (s - long / 2, s + long / 2, d - wide / 2, d + wide / 2)
        if any(here[0] < b and here[1] > a and here[2] < f and here[3] > e for a, b, e, f in self.taken):
            return False
        self.taken.append(here)
        return True


def populate(rng: np.random.Generator, plan: Plan, way: Way) -> list[Thing]:
    """Return everything that can be boxed or hides what can be, for one still picture."""
    cast = Cast(rng, plan, way)
    density = float(rng.choice([0.3, 1.0, 2.0, 3.5], p=[0.25, 0.4, 0.25, 0.1]))
    if plan.kind == "lane":
        density *= 0.4
    for lane in plan.lanes:
        _park(cast, lane) if lane.way == 0 else _drive(cast, lane, density)
    _aside(cast, density)
    _walkers(cast)
    _crossers(cast)
    _signals(cast)
    _posts(cast)
    return cast.things


def _vehicle(cast: Cast, shares: tuple[float, ...]) -> tuple[str, Figure]:
    name = str(cast.rng.choice(_TRAFFIC, p=shares))
    return name, moving(name, cast.rng)


def _drive(cast: Cast, lane: Lane, density: float) -> None:
    """Put traffic on a lane, from the camera on; nothing overlaps the own vehicle."""
    rng = cast.rng
    own = abs(lane.d) < lane.width_m / 2 and lane.way > 0
    s = float(rng.uniform(5.5, 30) if own else rng.uniform(-8, 20)) * (1.0 if density > 0.5 else 2.5)
    shares = _SHARES[cast.plan.kind]
    while s < _FAR_M:
        name, figure = _vehicle(cast, shares)
        long, wide = float(figure.size_m[0]), float(figure.size_m[1])
        middle = s + long / 2
        sway = min(0.8, max(0.1, (lane.width_m - wide) / 2))
        d = lane.d + float(rng.uniform(-sway, sway)) * (1.0 if cast.plan.kind == "mixed" else 0.5)
        if (own or middle > -2 or abs(d) > 2.2) and cast.free(middle, d, long + 1, wide + 0.3):
            turn = (_AHEAD if lane.way > 0 else _TOWARDS) + float(rng.normal(0, 0.025))
            cast.add(name, figure, middle, d, turn)
        s += long + 2.5 + float(rng.exponential(28.0 / density))


def _park(cast: Cast, lane: Lane) -> None:
    rng = cast.rng
    s, full = float(rng.uniform(-2, 10)), float(rng.uniform(0.2, 0.95))
    turn = _AHEAD if lane.d * cast.plan.hand > 0 or rng.random() < 0.4 else _TOWARDS
    gap = cast.plan.crossings
    while s < 90:
        figure = any_figure("car" if rng.random() < 0.9 else "truck", rng)
        long = float(figure.size_m[0])
        name = "car" if long < 6 else "truck"
        clear = all(s + long < each.near - 4 or s > each.far + 4 for each in gap)
        if clear and rng.random() < full and cast.free(s + long / 2, lane.d, long, float(figure.size_m[1])):
            cast.add(name, figure, s + long / 2, lane.d + float(rng.normal(0, 0.08)), turn + float(rng.normal(0, 0.02)))
        s += long + float(rng.uniform(0.6, 2.0))


def _aside(cast: Cast, density: float) -> None:
    """Put two-wheelers along the edge, and in mixed traffic anything anywhere."""
    rng, plan = cast.rng, cast.plan
    if plan.kind == "motorway":
        return
    mixed = plan.kind == "mixed"
    for _ in range(int(rng.poisson(3.0 * min(density, 2) if mixed else 0.6))):
        name = str(rng.choice(["bicycle", "motorcycle"], p=[0.35, 0.65] if mixed else [0.7, 0.3]))
        own = rng.random() < 0.65
        edge = plan.right if own == (plan.hand > 0) else plan.left
        inward = -np.sign(edge)
        d = edge + inward * float(rng.uniform(0.4, 3.5 if mixed else 1.1))
        s = float(rng.uniform(4, 60))
        figure = moving(name, rng)
        if cast.free(s, d, 2.4, 1.0):
            cast.add(name, figure, s, d, (_AHEAD if own else _TOWARDS) + float(rng.normal(0, 0.12)))


def _walkers(cast: Cast) -> None:
    """Put people on pavements, or on the verge where there are none."""
    rng, plan = cast.rng, cast.plan
    mean = {"motorway": 0.0, "country": 0.35, "lane": 0.8, "city": 5.0, "avenue": 4.0, "mixed": 5.0}[plan.kind]
    walks = plan.walks or ((plan.left - 1.4, plan.left - 0.4), (plan.right + 0.4, plan.right + 1.4))
    for _ in range(int(rng.poisson(mean * rng.choice([0.3, 1.0, 2.2])))):
        low, high = walks[int(rng.integers(len(walks)))]
        s, d = float(4 + rng.exponential(22)), float(rng.uniform(low, max(high, low + 0.1)))
        turn = float(rng.choice([_AHEAD, _TOWARDS])) + float(rng.normal(0, 0.25))
        if rng.random() < 0.15:
            turn = float(rng.uniform(-np.pi, np.pi))
        name = "person" if rng.random() < 0.94 else "bicycle"
        cast.add(name, any_figure(name, rng), s, d, turn)


def _crossers(cast: Cast) -> None:
    """Let people cross in front, on a zebra if there is one."""
    rng, plan = cast.rng, cast.plan
    often = {"motorway": 0.01, "country": 0.07, "lane": 0.15, "city": 0.32, "avenue": 0.25, "mixed": 0.4}[plan.kind]
    if rng.random() > often:
        return
    at = float(rng.uniform(5, 35))
    if plan.crossings and rng.random() < 0.6:
        at = max(plan.crossings[0].near - plan.crossings[0].corner_m - 1.5, 4.0)
    for _ in range(1 + int(rng.poisson(0.8))):
        s, d = at + float(rng.normal(0, 0.7)), float(rng.uniform(plan.left, plan.right))
        if s > 3.5 and cast.free(s, d, 0.8, 0.8):
            name = "person" if rng.random() < 0.9 else "bicycle"
            cast.add(name, moving(name, rng), s, d, float(rng.choice([0.0, np.pi])) + float(rng.normal(0, 0.2)))


def _signals(cast: Cast) -> None:
    """Put signs at the roadside, lights at junctions, a gantry or a bridge over the road."""
    rng, plan = cast.rng, cast.plan
    beside = (
        (plan.right + 0.7) * (plan.hand > 0) + (plan.left - 0.7) * (plan.hand < 0),
        plan.left - 0.7,
        plan.right + 0.7,
    )
    for _ in range(int(rng.poisson({"motorway": 0.8, "country": 1.0, "city": 2.0, "avenue": 2.0}.get(plan.kind, 0.6)))):
        d = float(beside[int(rng.integers(3))] + np.sign(beside[0]) * rng.uniform(0, 1))
        size = float(rng.uniform(1.2, 1.7)) if plan.kind == "motorway" else 1.0
        turn = _TOWARDS if rng.random() < 0.85 else _AHEAD
        cast.add(
            _SIGN, any_figure(_SIGN, rng).sized(size), float(rng.uniform(7, 70)), d, turn + float(rng.normal(0, 0.1))
        )
    if (plan.crossings and rng.random() < 0.7) or (plan.kind in ("city", "avenue") and rng.random() < 0.25):
        near = plan.crossings[0].near - plan.crossings[0].corner_m if plan.crossings else float(rng.uniform(10, 60))
        far = plan.crossings[0].far if plan.crossings else near + 12
        for s, d in (
            (near, plan.right + 0.6),
            (near, plan.left - 0.6),
            (far, plan.right + 0.8),
            (far, plan.left - 0.8),
        ):
            if rng.random() < 0.7:
                turn = _TOWARDS if rng.random() < 0.85 else _AHEAD
                cast.add(_LIGHT, any_figure(_LIGHT, rng), s, d, turn + float(rng.normal(0, 0.12)))
    if rng.random() < {"motorway": 0.22, "avenue": 0.06}.get(plan.kind, 0.0):
        s = float(rng.uniform(18, 90))
        for number, figure in enumerate(gantry(rng, plan.left - 1.0, plan.right + 1.0)):
            cast.add(_SIGN if number else "", figure, s - 0.5 * (number > 0), 0.0, _TOWARDS)


def over_road(cast_things: list[Thing], rng: np.random.Generator, plan: Plan, way: Way) -> tuple[float, float] | None:
    """Sometimes put a bridge over the road; return the span along s that it shadows."""
    if rng.random() > {"motorway": 0.14, "country": 0.04, "avenue": 0.06, "city": 0.03}.get(plan.kind, 0.0):
        return None
    s, deep = float(rng.uniform(14, 70)), float(rng.uniform(6, 16))
    figure = bridge(rng, plan.left - 3, plan.right + 3, deep)
    cast_things.append(Thing(put(way, figure, s, 0.0, _TOWARDS), shadow=False))
    return s, s + deep


def _posts(cast: Cast) -> None:
    """Line the road with lamps, poles, delineators, bollards."""
    rng, plan = cast.rng, cast.plan
    kinds = {"motorway": ("lamp", "delineator"), "country": ("pole", "delineator"), "lane": ("pole",),
             "mixed": ("pole", "lamp", "bin", "cabinet"), "city": ("lamp", "bollard", "bin", "cabinet", "pole"),
             "avenue": ("lamp", "bollard", "cabinet")}[plan.kind]  # fmt: skip
    for kind in kinds:
        if rng.random() < 0.45:
            continue
        step = {"lamp": 28.0, "pole": 35.0, "delineator": 30.0, "bollard": 2.5}.get(kind, 40.0) * float(
            rng.uniform(0.7, 1.4)
        )
        sides = [side for side in (-1, 1) if rng.random() < 0.65]
        number = int(rng.integers(12))
        for side in sides:
            edge = (plan.right if side > 0 else plan.left) + side * float(rng.uniform(0.4, 1.5))
            for s in _steps(float(rng.uniform(3, 3 + step)), step, min(110.0, step * 14)):
                turn = np.pi if side > 0 else 0.0
                cast.add("", prop(kind, number), s, edge, turn if kind == "lamp" else _AHEAD)
    if rng.random() < 0.05:
        d = float(rng.choice([plan.left + 0.5, plan.right - 0.5]))
        for s in _steps(float(rng.uniform(5, 15)), 4.0, 50.0):
            cast.add("", prop("cone", 0), s, d, _AHEAD)


def _steps(start: float, step: float, end: float) -> Iterator[float]:
    yield from np.arange(start, end, step).tolist()
