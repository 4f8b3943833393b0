"""What the masks of 100 objects cost, beside the one product of matrices that they cannot do without.

    python -m tests.bench.bench_masks

A YOLO-seg network at 640 x 640 with 32 prototypes of 160 x 160; all times are medians and minima of one interleaved
run. "Asked for" is what nobody pays before an event, a drawing or a file wants it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.prototypes import assemble
from streamvision.engine.decoders.yolo_seg import YoloSegDecoder
from streamvision.geometry import Letterbox
from streamvision.masks import patch, polygon, rle
from streamvision.types import Float32

MODEL, SOURCE = (640, 640), (1920, 1080)
OBJECTS, CLASSES, COEFFICIENTS, ANCHORS = 100, 80, 32, 8400
ROUNDS = 60
SIDES = {"small": (20, 90), "mixed": (20, 400), "huge": (600, 640)}


def scene(sides: tuple[int, int]) -> Float32:
    """An output (1, 4 + classes + c, anchors) with objects that do not suppress one another."""
    rng = np.random.default_rng(3)
    rows = np.zeros((1, 4 + CLASSES + COEFFICIENTS, ANCHORS), np.float32)
    size = rng.uniform(*sides, (2, OBJECTS))
    rows[0, 0, :OBJECTS] = rng.uniform(0, MODEL[0], OBJECTS)
    rows[0, 1, :OBJECTS] = rng.uniform(150, 490, OBJECTS)  # the rest of the height is padding
    rows[0, 2:4, :OBJECTS] = size
    rows[0, 4 + np.arange(OBJECTS) % CLASSES, np.arange(OBJECTS)] = 0.9
    rows[0, 4 + CLASSES :, :OBJECTS] = rng.normal(size=(COEFFICIENTS, OBJECTS))
    return rows


def smooth() -> Float32:
    y, x = np.mgrid[:160, :160]
    waves = np.random.default_rng(4).uniform(0.01, 0.15, (COEFFICIENTS, 3))
    return np.stack([np.sin(x * a + y * b + 40 * c) for a, b, c in waves])[None].astype(np.float32)


def interleaved(jobs: dict[str, Callable[[], object]]) -> None:
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            taken[name].append((time.perf_counter() - start) * 1000)
    for name, times in taken.items():
        print(f"  {name:<34} {statistics.median(times):7.2f} ms   least {min(times):6.2f}")


def main() -> None:
    prototypes = smooth()
    letterbox = Letterbox.fit(SOURCE, MODEL)
    for kind, sides in SIDES.items():
        output = scene(sides)
        shape = NetworkShape("bench", MODEL, CLASSES, (output.shape, prototypes.shape))
        decoder = YoloSegDecoder(YoloSegDecoder.Options(iou=1.0), shape)
        masks = decoder.decode([output, prototypes], [letterbox])[0].detections.masks
        assert masks is not None
        coefficients = np.ascontiguousarray(output[0, 4 + CLASSES :, :OBJECTS].T)
        centre, half = output[0, :2, :OBJECTS].T, output[0, 2:4, :OBJECTS].T / 2
        boxes = np.concatenate((centre - half, centre + half), axis=1)
        flat = prototypes.reshape(COEFFICIENTS, -1)
        print(f"{len(masks)} {kind} objects, masks of {masks.values.shape[2]}x{masks.values.shape[1]}")
        interleaved(
            {
                "bare product of matrices": lambda c=coefficients, f=flat: c @ f,
                "masks": lambda c=coefficients, b=boxes: assemble(c, prototypes[0], b, letterbox),
                "decode, suppression and masks": lambda d=decoder, o=output: d.decode([o, prototypes], [letterbox]),
                "asked for: one polygon": lambda m=masks: polygon(m, 0, SOURCE),
                "asked for: one bitmap, 1080p": lambda m=masks: patch(m, 0, SOURCE),
                "asked for: one bitmap and RLE": lambda m=masks: rle(patch(m, 0, SOURCE)),
            }
        )


if __name__ == "__main__":
    main()
