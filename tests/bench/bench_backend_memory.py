"""Does a running engine's memory grow? One backend, many pictures, its resident memory now and then.

    STREAMVISION_TEST_DATA=... python tests/bench/bench_backend_memory.py [BACKEND] [PICTURES] [MODEL]

By default openvino, 100000 pictures, yolox-nano. The first tenth is warming up. Exits with 1 if the memory at the end
is more than 16 MB above that after the first tenth.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from bench_memory import resident_mb
from support import data, quiet

from streamvision import plugins
from streamvision.engine import manifest, models
from streamvision.engine.backends import Network, picture_shape

ALLOWED_MB = 16


def main(backend: str = "openvino", count: str = "100000", model: str = "yolox-nano") -> None:
    quiet()
    data()
    found = manifest.load(model)
    network = Network(found.name, models.require(found), found.input)
    compiled = plugins.load("backend", backend)(network)
    picture = np.zeros(picture_shape(network.input), np.uint8)
    total, started_s, marks = int(count), time.monotonic(), []
    step = max(1, total // 10)
    waiting = []
    for number in range(1, total + 1):
        waiting.append(compiled.submit([picture]))
        if len(waiting) > compiled.in_flight:
            waiting.pop(0).result()
        if number % step == 0:
            marks.append(resident_mb())
            print(
                f"  {number:8d} pictures {marks[-1]:8.1f} MB {number / (time.monotonic() - started_s):8.1f} pictures/s"
            )
    compiled.close()
    sys.exit(marks[-1] - marks[0] > ALLOWED_MB)


if __name__ == "__main__":
    main(*sys.argv[1:])
