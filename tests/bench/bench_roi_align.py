"""RoIAlign of many regions: our sparse matrix beside dense matrices, OpenVINO's operator and torchvision.

    python tests/bench/bench_roi_align.py [--regions 1000] [--rounds 5]

One map of 80 x 80 cells with 256 channels, regions of 10 to 200 px, 7 x 7 bins, one thread each; best of the rounds,
interleaved. Prints milliseconds, and how far each is from ours at most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from streamvision.engine.roi_align import Features, Pyramid, taps

SIDE, CELLS, CHANNELS, STRIDE = 7, 80, 256, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    level = rng.standard_normal((1, CELLS, CELLS, CHANNELS)).astype(np.float32)
    low = rng.uniform(0, 560, (arguments.regions, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 200, low.shape)], axis=1).astype(np.float32)
    rivals = {
        "sparse matrix": sparse(level, boxes),
        "dense matrices per region": dense(level, boxes),
        "openvino": openvino_operator(level, boxes),
        "torchvision": torchvision_operator(level, boxes),
    }
    compare(rivals, arguments.rounds)


def compare(rivals: dict[str, Callable[[], Any]], rounds: int) -> None:
    reference = rivals["sparse matrix"]()
    best = dict.fromkeys(rivals, float("inf"))
    for _ in range(rounds):
        for name, run in rivals.items():
            started_s = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - started_s)
    for name, run in rivals.items():
        print(f"{name:26} {best[name] * 1e3:8.1f} ms  {np.abs(run() - reference).max():.1e}")


def sparse(level: Any, boxes: Any) -> Callable[[], Any]:
    features = Features.gather(Pyramid(((CELLS, CELLS),), (STRIDE,)), [level])
    whose = np.zeros(len(boxes), np.intp)
    return lambda: features.crop(boxes, whose, SIDE)


def dense(level: Any, boxes: Any) -> Callable[[], Any]:
    """One small matrix per region and axis, over the cells that the region touches."""
    limit = np.full(len(boxes), CELLS, np.int32)

    def axis(index: Any, weight: Any) -> tuple[slice, Any]:
        first, last = index.min(), index.max() + 1
        matrix = np.zeros((SIDE, last - first), np.float32)
        np.add.at(matrix, (np.arange(SIDE)[:, None], index - first), weight)
        return slice(first, last), matrix

    def run() -> Any:
        scaled = boxes / np.float32(STRIDE)
        rows, down = taps(scaled[:, 1], scaled[:, 3], limit, SIDE)
        columns, across = taps(scaled[:, 0], scaled[:, 2], limit, SIDE)
        out = np.empty((len(boxes), SIDE, SIDE, CHANNELS), np.float32)
        for number in range(len(boxes)):
            (y, tall), (x, wide) = axis(rows[number], down[number]), axis(columns[number], across[number])
            out[number] = np.tensordot(tall, np.einsum("yxc,px->ypc", level[0, y, x], wide), 1)
        return out

    return run


def openvino_operator(level: Any, boxes: Any) -> Callable[[], Any]:
    import openvino
    from openvino import opset14 as ops

    maps = ops.parameter([1, CHANNELS, CELLS, CELLS], np.float32)
    regions, whose = ops.parameter([-1, 4], np.float32), ops.parameter([-1], np.int32)
    cut = ops.roi_align(maps, regions, whose, SIDE, SIDE, 2, 1 / STRIDE, "avg", "asymmetric")
    model = openvino.Model([cut], [maps, regions, whose])
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    given = [np.ascontiguousarray(level.transpose(0, 3, 1, 2)), boxes, np.zeros(len(boxes), np.int32)]
    return lambda: request.infer(given)[0].transpose(0, 2, 3, 1)


def torchvision_operator(level: Any, boxes: Any) -> Callable[[], Any]:
    import torch
    from torchvision.ops import roi_align

    torch.set_num_threads(1)
    maps, regions = torch.from_numpy(level).permute(0, 3, 1, 2).contiguous(), [torch.from_numpy(boxes)]
    return lambda: roi_align(maps, regions, SIDE, 1 / STRIDE, 2).permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    main()
