"""The picture that was kept with an event, explained later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from streamvision.errors import UsageError

if TYPE_CHECKING:
    from streamvision.explain.explanation import Explanation
    from streamvision.explain.occlusion import Options
    from streamvision.types import UInt8


def explain_event(event: str, config: Path, options: Options, *, keep: bool) -> tuple[Explanation, UInt8]:
    """Return the explanation of an event's picture and the picture; with ``keep`` it takes its place with the event.

    Raises `UsageError` where no picture of the event was kept, or its model is none of the configuration's any more.
    """
    from streamvision.cli.explain import hidden
    from streamvision.config import load_settings
    from streamvision.draw import to_jpeg
    from streamvision.engine.build import build_engine
    from streamvision.engine.manifest import labels_of, load, maps_of
    from streamvision.explain.background import decoded
    from streamvision.explain.explanation import concluded
    from streamvision.explain.pictures import frame_of
    from streamvision.explain.shelf import Shelf, State

    settings = load_settings(config, labels_of=labels_of, maps_of=maps_of)
    shelf = Shelf(settings.state_dir)
    picture, request = decoded(shelf.picture(event)), shelf.find(event)
    if request is None or request.model not in settings.models:
        raise UsageError("the model that saw this event is not in the configuration any more", where=event)
    model = settings.models[request.model]
    engine = build_engine(
        load(model.manifest), backend=model.backend, backend_options=model.options,
        precision="auto" if model.precision == "int8" else model.precision,
    )  # fmt: skip
    try:
        frame = frame_of(picture, engine.input, request.stream)
        saliency = hidden(engine, frame, request.target, options)
        found = concluded(engine, frame, request.model, request.target, saliency)
    finally:
        engine.close()
    if keep:
        shelf.finish(
            replace(request, state=State.DONE, reason="", numbers=found.as_json()), to_jpeg(found.drawn(picture))
        )
    return found, picture
