"""How much of what a larger network is sure of, a smaller one finds on a video.

Recall at IoU 0.5: of the teacher's detections from ``--sure`` on, the share that the student finds from
``--min-score`` on, as the same class and as any class; and how many detections the student makes that the teacher does
not even suspect.

    python tests/bench/bench_teacher.py VIDEO --student default --teacher yolox-nano --fps 2
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import closing

import numpy as np

from streamvision.clock import SystemClock
from streamvision.engine.build import build_engine
from streamvision.engine.manifest import load
from streamvision.geometry import iou_matrix
from streamvision.offline import OfflineOptions, OfflineRun
from streamvision.types import Detections

_SUSPECTED = 0.1


def seen(video: str, model: str, fps: float, start_s: float) -> tuple[tuple[str, ...], dict[int, Detections]]:
    """Return a model's class names and what it sees in each picture."""
    with closing(build_engine(load(model), decoder_options={"min_score": _SUSPECTED})) as engine:
        run = OfflineRun(video, engine, OfflineOptions(fps=fps), SystemClock())
        found = {
            round(one.frame.info.media_s * 1000): one.perception.detections
            for one in run
            if one.frame.info.media_s >= start_s
        }
    return engine.labels, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--student", default="default")
    parser.add_argument("--teacher", default="yolox-nano")
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--start", type=float, default=0.0, help="leave out what lies before, in seconds")
    parser.add_argument("--sure", type=float, default=0.5)
    parser.add_argument("--min-score", type=float, default=0.3)
    parser.add_argument("--rename", action="append", default=[], help="the teacher's THEIRS=OURS")
    options = parser.parse_args()
    renamed = dict(pair.split("=") for pair in options.rename)
    for video in options.videos:
        report(video, options, renamed)


def report(video: str, options: argparse.Namespace, renamed: dict[str, str]) -> None:
    teacher_names, teacher = seen(video, options.teacher, options.fps, options.start)
    names, student = seen(video, options.student, options.fps, options.start)
    asked, same, some, alone, made = Counter(), Counter(), Counter(), 0, 0
    for moment, truth in teacher.items():
        found = student[moment][student[moment].score >= options.min_score]
        overlap = iou_matrix(truth.xyxy, found.xyxy) >= 0.5
        made += len(found)
        alone += int((~overlap.any(axis=0)).sum()) if len(truth) else len(found)
        for row in np.flatnonzero(truth.score >= options.sure):
            name = teacher_names[truth.class_id[row]]
            name = renamed.get(name, name)
            if name in names:
                asked[name] += 1
                some[name] += bool(overlap[row].any())
                same[name] += bool((overlap[row] & (found.class_id == names.index(name))).any())
    print(f"{video}: {len(teacher)} pictures, {made} detections, of which {alone} the teacher does not suspect")
    for name in [*asked, "all"]:
        total, own, some_class = ((sum(each.values()) if name == "all" else each[name]) for each in (asked, same, some))
        if total:
            print(f"  {name:<14} {total:5d}  recall {own / total:.3f}  as any class {some_class / total:.3f}")


if __name__ == "__main__":
    main()
