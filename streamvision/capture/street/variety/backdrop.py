"""What stands still behind the things: sky, walls, grounds with their paint; and what the ground means."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import NEAR_M, Camera, Points
from streamvision.capture.drawn.light import Light
from streamvision.capture.street.variety.mood import Mood
from streamvision.capture.street.variety.places import UNKNOWN, Ground, Place, Wall
from streamvision.capture.street.variety.textures import SIDE, clouds, small_tile
from streamvision.capture.street.variety.walls import PER_METRE, wall
from streamvision.types import UInt8

Field = NDArray[np.float32]
_SHIFT = 4
_REACH_M = 400.0


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """bgr (h,w,3) float32 in white light times the mood; ground (h,w) bool; east, north (h,w) m; depth (h,w) m.

    drivable, lane (h,w) uint8: 1, 0, 255 as in `Drawn`, with nothing standing anywhere.
    """

    bgr: Field
    ground: NDArray[np.bool_]
    east: Field
    north: Field
    depth: Field
    drivable: UInt8
    lane: UInt8


def backdrop(rng: np.random.Generator, camera: Camera, where: Place, feel: Mood) -> Backdrop:
    """Paint a place without anything in it."""
    rays = camera.rays()
    down = np.minimum(rays[..., 2], -1e-4)
    share = np.where(rays[..., 2] < -1e-3, -camera.position[2] / down, _REACH_M)
    depth = np.minimum(share, _REACH_M).astype(np.float32)
    ground = rays[..., 2] < -camera.position[2] / _REACH_M
    east, north = camera.position[0] + rays[..., 0] * depth, camera.position[1] + rays[..., 1] * depth
    gain = np.asarray(feel.light.sky, np.float32) + np.asarray(feel.light.sun, np.float32) * feel.light.to_sun[2]
    bgr: Field = np.empty_like(rays)
    above = slice(0, int(np.count_nonzero(~ground.all(axis=1))))
    bgr[above] = _sky(rng, rays[above], feel)
    drivable = np.where(ground, np.uint8(where.base.meaning), np.uint8(0))
    below = slice(int(np.argmax(ground.any(axis=1))), bgr.shape[0])
    layer = _ground(camera, where.base, east, north, depth, below) * gain
    np.copyto(bgr[below], layer, where=ground[below][..., None])
    for area in where.areas:
        _lay(bgr, drivable, camera, area.corners, area.ground, (east, north, depth), ground, gain)
    lane = np.zeros_like(drivable)
    _stripes(rng, bgr, lane, camera, where, gain)
    lane[drivable == UNKNOWN] = UNKNOWN
    _worn(rng, bgr, ground, east, north)
    for one in _farthest_first(camera, where.walls):
        _stand(bgr, (ground, depth, drivable, lane), camera, one, feel.light, where.indoors)
    _haze(bgr, depth, feel.light)
    return Backdrop(bgr, ground, east, north, depth, drivable, lane)


def _sky(rng: np.random.Generator, rays: Field, feel: Mood) -> Field:
    """Return the sky (h,w,3) that rays (h,w,3) meet; from the first row that shows any, down to the last."""
    if not len(rays):
        return np.empty_like(rays)
    height = rays[..., 2] / np.linalg.norm(rays, axis=2)
    share = np.clip(height * 2.2, 0, 1)[..., None].astype(np.float32)
    sky = np.asarray(feel.horizon, np.float32) * (1 - share) + np.asarray(feel.zenith, np.float32) * share
    if feel.cloudiness > 0.05:
        far = np.maximum(rays[..., 2], 0.08)
        where = [np.asarray(rays[..., at] / far * 60 + rng.uniform(0, SIDE), np.float32) for at in (0, 1)]
        cover = cv2.remap(
            clouds(int(rng.integers(6))), where[0], where[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        cover = np.clip(cover * 0.5 + feel.cloudiness - 0.45, 0, 1)[..., None] * np.clip(height * 12, 0, 1)[..., None]
        bright = np.asarray(feel.horizon, np.float32) * 1.04
        sky = sky * (1 - 0.85 * cover) + bright * 0.85 * cover
    return np.ascontiguousarray(sky, np.float32)


def _ground(camera: Camera, ground: Ground, east: Field, north: Field, depth: Field, rows: slice) -> Field:
    """Return a ground's texture for some rows, each band of rows from a tile that is as coarse as it must be."""
    east, north, depth = east[rows], north[rows], depth[rows]
    texels = depth[:, depth.shape[1] // 2] ** 2 / (camera.focal_px * camera.position[2]) * 64 * 0.7
    levels = np.clip(np.round(np.log2(np.maximum(texels, 1.0))), 0, 8).astype(int)
    out = np.empty((*depth.shape, 3), np.float32)
    for level in np.unique(levels):
        band = np.flatnonzero(levels == level)
        part = slice(band[0], band[-1] + 1)
        tile = small_tile(ground.kind, ground.number, int(level))
        scale = 64 / 2.0**level
        u, v = (np.asarray(np.mod(at[part] * scale, tile.shape[0]), np.float32) for at in (east, -north))
        out[part] = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return out * np.asarray(ground.tint, np.float32)


def cut(camera: Camera, corners: Points) -> NDArray[np.int32] | None:
    """Return a ground polygon (n,2) m in pixels (n,2) of `_SHIFT` fractions; None where nothing is ahead."""
    points = np.column_stack([corners, np.zeros(len(corners))])
    depth = (points - camera.position) @ camera.axes[2]
    kept = []
    for at in range(len(points)):
        after = (at + 1) % len(points)
        if depth[at] >= NEAR_M:
            kept.append(points[at])
        if (depth[at] >= NEAR_M) != (depth[after] >= NEAR_M):
            share = (NEAR_M - depth[at]) / (depth[after] - depth[at])
            kept.append(points[at] + (points[after] - points[at]) * share)
    if len(kept) < 3:
        return None
    pixels = camera.project(np.array(kept))[0]
    return np.round((np.clip(pixels, -2e6, 2e6) - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _mask(camera: Camera, polygons: list[Points]) -> tuple[UInt8, slice] | None:
    """Return the cover (h,w) 0-255 of ground polygons, anti-aliased, and the rows that it lies in."""
    width, height = camera.size_wh
    large = camera.scaled(2)
    mask = np.zeros((height * 2, width * 2), np.uint8)
    for polygon in polygons:
        outline = cut(large, polygon)
        if outline is not None:
            cv2.fillConvexPoly(mask, outline, (255,), cv2.LINE_8, _SHIFT)
    cover = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    rows = np.flatnonzero(cover.any(axis=1))
    return (cover, slice(rows[0], rows[-1] + 1)) if len(rows) else None


def _lay(bgr: Field, drivable: UInt8, camera: Camera, corners: Points, ground: Ground,
         spots: tuple[Field, Field, Field], on_ground: NDArray[np.bool_], gain: Field) -> None:  # fmt: skip
    """Lay another ground over a polygon, in place."""
    found = _mask(camera, [corners])
    if found is None:
        return
    cover, rows = found
    share = (cover[rows] * on_ground[rows])[..., None].astype(np.float32) / np.float32(255)
    layer = _ground(camera, ground, *spots, rows) * gain
    bgr[rows] += (layer - bgr[rows]) * share
    drivable[rows][(cover[rows] > 127) & on_ground[rows]] = ground.meaning


def _stripes(rng: np.random.Generator, bgr: Field, lane: UInt8, camera: Camera, where: Place, gain: Field) -> None:
    """Paint the markings, some of them worn off."""
    worn = rng.uniform(0.45, 1.0)
    for lines in (True, False):
        polygons = [stripe for stripe in where.stripes if stripe.lane is lines]
        for ink in {stripe.ink for stripe in polygons}:
            found = _mask(camera, [stripe.corners for stripe in polygons if stripe.ink == ink])
            if found is None:
                continue
            cover, rows = found
            share = cover[rows][..., None].astype(np.float32) / np.float32(255) * worn
            bgr[rows] += (np.asarray(ink, np.float32) * gain - bgr[rows]) * share
            if lines:
                lane[rows][cover[rows] > 110] = 1


def _worn(rng: np.random.Generator, bgr: Field, ground: NDArray[np.bool_], east: Field, north: Field) -> None:
    """Lay broad stains over all grounds, and wet patches that are darker."""
    scale = float(rng.uniform(4, 20))
    u, v = (np.asarray(np.mod(at * scale, SIDE), np.float32) for at in (east, north))
    stain = cv2.remap(clouds(int(rng.integers(6))), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    strength = rng.uniform(0.01, 0.08)
    bgr *= np.where(ground, np.clip(1 + strength * stain, 0.6, 1.3), 1.0)[..., None].astype(np.float32)


def _farthest_first(camera: Camera, walls: list[Wall]) -> list[Wall]:
    def distance(one: Wall) -> float:
        x0, y0, x1, y1 = one.ends
        long = float(np.hypot(x1 - x0, y1 - y0))
        return ((camera.position[1] - y0) * (x1 - x0) - (camera.position[0] - x0) * (y1 - y0)) / long

    seen = [(distance(one), at) for at, one in enumerate(walls)]
    return [walls[at] for away, at in sorted(seen, reverse=True) if away > 1.0]


def _stand(bgr: Field, maps: tuple[NDArray[np.bool_], Field, UInt8, UInt8], camera: Camera, one: Wall, light: Light,
           indoors: bool) -> None:  # fmt: skip
    """Put a wall's texture, piece by piece, into the picture, in place; only what is seen from its left side."""
    texture = wall(one.kind, one.number)
    x0, y0, x1, y1 = one.ends
    long = float(np.hypot(x1 - x0, y1 - y0))
    way = np.array([(x1 - x0) / long, (y1 - y0) / long, 0.0])
    high, piece = texture.shape[0] / PER_METRE, texture.shape[1] / PER_METRE
    if indoors:
        high = max(high, 4.0)
    out = np.array([-way[1], way[0], 0.0])
    gain = np.asarray(light.sky) * 0.8 + np.asarray(light.sun) * max(0.0, float(out @ np.asarray(light.to_sun)))
    step = high / texture.shape[0]
    ground, depth, drivable, lane = maps
    for start in np.arange(0, long, piece):
        foot, up = np.array([x0, y0, 0.0]) + way * start, np.array([0.0, 0.0, high])
        corners = np.array([foot, foot + way * piece, foot + way * piece + up, foot + up])
        pixels, far = camera.project(corners)
        if far.min() < NEAR_M or (pixels.max(axis=0) < 0).any() or (pixels.min(axis=0) > camera.size_wh).any():
            continue
        # Seen from the left side of the way, the texture's left edge lies at the piece's end.
        matrix = camera.plane(foot + way * piece + up, -way / PER_METRE, np.array([0, 0, -step]))
        low = np.maximum(np.floor(pixels.min(axis=0)).astype(int), 0)
        top = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 1, camera.size_wh)
        move = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]], np.float64)
        small, matrix = _reduced(texture, move @ matrix, pixels)
        size = (int(top[0] - low[0]), int(top[1] - low[1]))
        if min(size) < 1:
            continue
        patch = cv2.warpPerspective(small, matrix, size, flags=cv2.INTER_LINEAR)
        inside = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(inside, np.round((np.clip(pixels, -2e6, 2e6) - low - 0.5) * 16).astype(np.int32), (1,), 8, 4)
        view = (slice(int(low[1]), int(top[1])), slice(int(low[0]), int(top[0])))
        where = inside > 0
        bgr[view][where] = patch[where].astype(np.float32) * gain.astype(np.float32)
        ground[view][where] = False
        depth[view][where] = float(far.mean())
        drivable[view][where] = 0
        lane[view][where] = 0


def _reduced(texture: UInt8, matrix: NDArray[np.float64], pixels: Points) -> tuple[UInt8, NDArray[np.float64]]:
    """Halve a texture until it is about as large as it is seen, so that it does not flicker."""
    seen = max(float(np.ptp(pixels[:, 1])), 1.0)
    factor = 1
    while texture.shape[0] / factor > 1.6 * seen and texture.shape[0] // factor > 8:
        factor *= 2
    if factor == 1:
        return texture, matrix
    size = (max(1, texture.shape[1] // factor), max(1, texture.shape[0] // factor))
    small = np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_AREA), np.uint8)
    grow = np.diag([texture.shape[1] / size[0], texture.shape[0] / size[1], 1.0])
    return small, matrix @ grow


def _haze(bgr: Field, depth: Field, light: Light) -> None:
    if light.haze_per_m > 0:
        clear = np.exp(-np.minimum(depth, 150.0) * light.haze_per_m).astype(np.float32)[..., None]
        bgr *= clear
        bgr += np.asarray(light.haze, np.float32) * (1 - clear)
