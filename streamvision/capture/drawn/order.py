"""Who hides whom: solids of a figure by planes between their boxes, figures by lines between their footprints."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import Camera, Points
from streamvision.capture.drawn.outlines import Outlines
from streamvision.capture.drawn.parts import Figure

_TOUCH_M = 0.02


def solid_ranks(camera: Camera, figure: Figure) -> NDArray[np.intp]:
    """Return each solid's place (S,) in painting order, farthest 0.

    Where a plane x, y or z = c lies between two boxes, the one on the camera's side comes later; else the one whose
    centre is nearer.
    """
    eye = _local(camera, figure)
    low, high = figure.bounds[:, 0], figure.bounds[:, 1]
    apart = high[:, None] <= low[None, :] + _TOUCH_M
    behind = (apart & (eye >= low[None, :] - _TOUCH_M)).any(axis=2)
    before = (apart & (eye <= high[:, None] + _TOUCH_M)).any(axis=2)
    behind |= before.T
    clear = behind & ~behind.T
    distance = np.linalg.norm((low + high) / 2 - eye, axis=1)
    unclear = ~(clear | clear.T)
    farther = clear | (unclear & (distance[:, None] > distance[None, :]))
    return np.argsort(np.argsort(farther.sum(axis=0) * 1000.0 - distance))


def _local(camera: Camera, figure: Figure) -> Points:
    x, y, z, heading = figure.place
    away = np.asarray(camera.position) - [x, y, z]
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([away[0] * cos + away[1] * sin, -away[0] * sin + away[1] * cos, away[2]])


def order_things(
    camera: Camera, figures: Sequence[Figure], seen: Sequence[Outlines], names: Sequence[int]
) -> list[int]:
    """Return the names of figures in painting order: farthest first, but nobody before one that he hides."""
    eye = np.asarray(camera.position)[:2]
    feet = [figure.footprint() for figure in figures]
    distance = [float(np.linalg.norm(foot.mean(axis=0) - eye)) for foot in feet]
    lows, highs = np.array([one.low for one in seen]), np.array([one.high for one in seen])
    waits = [0] * len(figures)
    hides: list[list[int]] = [[] for _ in figures]
    for a in range(len(figures)):
        meets = np.flatnonzero((lows[a + 1 :] <= highs[a]).all(axis=1) & (highs[a + 1 :] >= lows[a]).all(axis=1))
        for b in (meets + a + 1).tolist():
            first = _hidden_first(feet[a], feet[b], eye)
            if first:
                far, near = (a, b) if first > 0 else (b, a)
                hides[far].append(near)
                waits[near] += 1
    return [names[at] for at in _sorted(waits, hides, distance)]


def _sorted(waits: list[int], hides: list[list[int]], distance: list[float]) -> list[int]:
    ready = [(-distance[at], at) for at, count in enumerate(waits) if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    left = set(range(len(waits)))
    while left:
        if not ready:  # a ring of three that hide one another: the farthest goes first
            far = max(left, key=lambda at: distance[at])
            ready.append((-distance[far], far))
        at = heapq.heappop(ready)[1]
        if at not in left:
            continue
        left.discard(at)
        order.append(at)
        for near in hides[at]:
            waits[near] -= 1
            if waits[near] == 0:
                heapq.heappush(ready, (-distance[near], near))
    return order


def _hidden_first(one: Points, other: Points, eye: Points) -> int:
    """Return 1 where ``one`` lies behind ``other``, -1 the other way round, 0 where neither can be told."""
    for mine, theirs, answer in ((one, other, 1), (other, one, -1)):
        edges = np.roll(mine, -1, axis=0) - mine
        outwards = np.column_stack([edges[:, 1], -edges[:, 0]])
        edge_at = (outwards * mine).sum(axis=1)
        beyond = (theirs @ outwards.T >= edge_at - 1e-6).all(axis=0)
        if beyond.any():
            side = int(np.flatnonzero(beyond)[0])
            return answer if float(outwards[side] @ eye) >= edge_at[side] else -answer
    return 0
