"""A network that a user brings becomes a model: what it is is worked out, and what cannot be known is asked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from streamvision import plugins
from streamvision.engine import onnx_file, samples
from streamvision.engine.adopt.families import Guess, recognise
from streamvision.engine.adopt.look import Seen, look, picture_input
from streamvision.engine.backends import Network
from streamvision.engine.backends.onnxruntime import OnnxRuntimeBackend
from streamvision.engine.decoders import NetworkShape
from streamvision.engine.manifest import Manifest, ModelInput
from streamvision.engine.models import sha256_of
from streamvision.errors import EngineError, ManifestError, UsageError
from streamvision.types import Perception, UInt8

NORMALISATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    "unit": {"scale": 1 / 255},
    "imagenet": {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
}
"""Pixels 0 to 255 as they are; 0 to 1; less the mean of ImageNet's pixels, over their deviation."""

_ASK: Final = {
    "colour": "the order of its colours: state --colour rgb or --colour bgr",
    "normalise": "what it expects of pixels: state --normalise none (0 to 255), unit (0 to 1) or imagenet",
    "fit": "how pictures were fitted to its size: state --input-fit letterbox, letterbox_top_left or stretch",
}


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user says of a network; None and empty: nothing."""

    labels: tuple[str, ...] = ()
    decoder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    size_wh: tuple[int, int] | None = None
    colour: str | None = None
    normalise: str | None = None
    fit: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a network was found to be; ``document`` is its manifest."""

    family: str
    outputs: str
    document: Mapping[str, Any]
    external: bool

    @property
    def manifest(self) -> Manifest:
        """The manifest as a value."""
        return Manifest.model_validate(self.document)


def propose(path: Path, name: str, stated: Stated) -> Proposal:
    """Work out what a network is.

    Raises `EngineError` for a file that is no network or cannot be run, `UsageError` that names every question which
    the file leaves open, with the option that answers it.
    """
    if not path.is_file():
        raise UsageError("there is no such file", where=str(path), remedy="give the path of an ONNX file")
    facts = onnx_file.check(path)
    picture = picture_input(facts, stated.size_wh)
    seen = look(facts, ModelInput(**picture))
    guess = recognise(seen, stated.labels, stated.decoder)
    if guess is None:
        known = ", ".join(plugins.names("decoder"))
        raise UsageError(
            f"its outputs are {seen.words()}: no network that is known has such",
            where=str(path),
            remedy=f"state how to read them: --decoder, one of {known}",
        )
    _ask(path, seen, guess, stated, picture)
    document = _document(path, name, guess, stated, picture)
    proposal = Proposal(guess.family, seen.words(), document, bool(facts.external))
    _check(path, proposal, seen)
    return proposal


def try_out(path: Path, manifest: Manifest, pictures: Sequence[UInt8]) -> list[Perception]:
    """Return what a network sees in RGB pictures (h,w,3) of any size, in their pixels."""
    backend = OnnxRuntimeBackend(Network(manifest.name, path, manifest.input), OnnxRuntimeBackend.Options(workers=1))
    try:
        shapes = (backend.output_shapes, backend.output_names)
        decoder = _decoder(manifest, *shapes)
        found = []
        for rgb in pictures:
            pixels, letterbox = samples.fitted(rgb, manifest.input.spec())
            found += decoder.decode(backend.submit([pixels]).result(), [letterbox])
        return found
    finally:
        backend.close()


def _ask(path: Path, seen: Seen, guess: Guess, stated: Stated, picture: Mapping[str, Any]) -> None:
    """Raise `UsageError` with everything that neither the file nor the user says."""
    questions = [each for each in guess.questions if not ("activation" in each and "activation" in stated.options)]
    labels = stated.labels or guess.labels
    if not labels:
        count = f"{guess.classes} of them" if guess.classes else "in the network's order"
        questions.append(f"the names of its classes, {count}: state --labels a,b,c or a .txt file, one a line")
    elif guess.classes not in (None, len(labels)) and not questions:
        questions.append(
            f"{len(labels)} labels are {'given' if stated.labels else 'in the file'}, but the network has "
            f"{guess.classes} classes: state all of them in its order with --labels"
        )
    gray_or_raw = {"colour": picture["colour"] == "gray", "normalise": picture["dtype"] == "uint8"}
    for what, words in _ASK.items():
        if getattr(stated, what) is None and getattr(guess, what) is None and not gray_or_raw.get(what, False):
            questions.append(words)
    if questions:
        listed = "".join(f"\n  - {question}" for question in questions)
        raise UsageError(f"it looks like {guess.family}, with {seen.words()}, but cannot tell{listed}", where=str(path))


def _document(path: Path, name: str, guess: Guess, stated: Stated, picture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest, without defaults that say nothing."""
    labels = list(stated.labels or guess.labels)
    if any(not label or len(label) > 200 or not label.isprintable() for label in labels):
        raise UsageError("a label is a short, printable text", where=str(path), remedy="state them with --labels")
    normalise = stated.normalise or guess.normalise or "none"
    colour = str(picture["colour"]) if picture["colour"] == "gray" else stated.colour or guess.colour
    if colour == "gray" and normalise == "imagenet":
        raise UsageError("a gray picture has no normalisation of ImageNet", where=str(path), remedy="state unit")
    document: dict[str, Any] = {
        "name": name,
        "summary": f"{guess.family}, added from {path.name}",
        "task": guess.task,
        "licence": guess.licence or "not known; the one of whoever made the network",
        "source": path.name,
        "input": {
            "size": list(picture["size"]), "layout": picture["layout"], "dtype": picture["dtype"], "colour": colour,
            **NORMALISATIONS[normalise], "fit": stated.fit or guess.fit, "pad": guess.pad,
        },
        "decoder": {"type": guess.decoder, **guess.options, **stated.options},
    }  # fmt: skip
    if guess.task == "semantic_segmentation":
        document["segmentation"] = {"classes": labels}
    else:
        document["labels"] = labels
    sha256 = sha256_of(path)
    return document | {"file": {"name": f"{name}.{sha256[:8]}.onnx", "sha256": sha256}}


def _check(path: Path, proposal: Proposal, seen: Seen) -> None:
    """Raise `UsageError` where the decoder refuses what the network gives."""
    try:
        _decoder(proposal.manifest, seen.shapes, seen.names)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][-1]) if first["loc"] else "labels"
        raise UsageError(f"{key}: {first['msg']}", where=str(path), remedy=_nearest_option(proposal, key)) from error
    except ManifestError as error:
        raise UsageError(
            error.what,
            where=str(path),
            remedy="state --labels, --decoder, or the decoder's options as --option NAME=VALUE",
        ) from error


def _nearest_option(proposal: Proposal, key: str) -> str:
    decoder = proposal.document["decoder"]["type"]
    known = list(plugins.load("decoder", decoder).Options.model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near and near[0] != key else f"{decoder} has the options {', '.join(known)}"


def _decoder(manifest: Manifest, shapes: tuple[tuple[int, ...], ...], names: tuple[str, ...]) -> Any:
    if manifest.decoder is None:
        raise EngineError("a network needs a decoder", where=manifest.name)
    plugin = plugins.load("decoder", manifest.decoder.type)
    return plugin(
        plugin.Options.model_validate(manifest.decoder.options),
        NetworkShape(
            manifest.name, manifest.input.size, len(manifest.labels), shapes, names, manifest.labels,
            manifest.segmentation,
        ),
    )  # fmt: skip
