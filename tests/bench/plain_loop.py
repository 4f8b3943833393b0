"""The loop that everybody writes first: cv2 reads and scales, ONNX Runtime infers, numpy decodes. Prints one sample.

    python tests/bench/plain_loop.py VIDEO YOLOX.onnx

It runs in a process of its own, with every library's defaults (their threads, too). Printed: pictures, boxes, seconds
of wall time, seconds of CPU time; loading is not counted.
"""

from __future__ import annotations

import sys
import time

import cv2
import numpy as np
import onnxruntime

SIDE = 416
STRIDES = (8, 16, 32)
MIN_SCORE = 0.1
IOU = 0.45


def letterboxed(picture):
    scale = min(SIDE / picture.shape[0], SIDE / picture.shape[1])
    size = int(picture.shape[1] * scale), int(picture.shape[0] * scale)
    canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(picture, size)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32), scale


def decoded(output):
    cells, strides = [], []
    for stride in STRIDES:
        x, y = np.meshgrid(np.arange(SIDE // stride), np.arange(SIDE // stride))
        cells.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((len(cells[-1]), 1), stride))
    cell, stride = np.concatenate(cells), np.concatenate(strides)
    centre, size = (output[:, :2] + cell) * stride, np.exp(output[:, 2:4]) * stride
    return np.concatenate((centre - size / 2, centre + size / 2), 1), output[:, 4:5] * output[:, 5:]


def kept(boxes, scores):
    """Greedy suppression of one class."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order, survivors = scores.argsort()[::-1], []
    while len(order):
        best, rest = order[0], order[1:]
        survivors.append(best)
        corner = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = np.maximum(corner[1] - corner[0], 0).prod(1)
        order = rest[overlap / (area[best] + area[rest] - overlap) <= IOU]
    return survivors


def detect(output, scale):
    boxes, scores = decoded(output)
    found = []
    for class_id in range(scores.shape[1]):
        likely = scores[:, class_id] > MIN_SCORE
        if likely.any():
            some, their = boxes[likely], scores[likely, class_id]
            found += [(class_id, their[one], some[one] / scale) for one in kept(some, their)]
    return found


def main() -> None:
    video, network = sys.argv[1:]
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    session.run(None, {name: np.zeros((1, 3, SIDE, SIDE), np.float32)})
    capture = cv2.VideoCapture(video)
    pictures = boxes = 0
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    while True:
        there, picture = capture.read()
        if not there:
            break
        pixels, scale = letterboxed(picture)
        boxes += len(detect(session.run(None, {name: pixels})[0][0], scale))
        pictures += 1
    print(pictures, boxes, time.perf_counter() - wall_s, time.process_time() - cpu_s)


if __name__ == "__main__":
    main()
