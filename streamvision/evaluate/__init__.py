"""How good a network is: what it saw in the pictures of a data set, measured against what the set says of them.

`Evaluator` takes pictures one by one, or `measure` all of them; neither knows whether an engine or a network in
training saw them. `study` asks everything about one engine. Nothing here needs torch.
"""

from __future__ import annotations

from streamvision.evaluate.coco import MAX_DETECTIONS, MIN_SCORE, average_precision
from streamvision.evaluate.evaluator import Evaluation, Evaluator, Names, measure
from streamvision.evaluate.matching import parse_pairs
from streamvision.evaluate.running import perceptions
from streamvision.evaluate.speed import Speed, speed
from streamvision.evaluate.study import Question, Study, study
from streamvision.evaluate.summary import as_json

__all__ = [
    "MAX_DETECTIONS", "MIN_SCORE", "Evaluation", "Evaluator", "Names", "Question", "Speed", "Study", "as_json",
    "average_precision", "measure", "parse_pairs", "perceptions", "speed", "study",
]  # fmt: skip
