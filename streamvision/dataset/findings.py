"""What is wrong with a data set: findings, by kind, with a place each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from streamvision.errors import DataError

EXAMPLES = 5
"""How many places of a kind are kept to be shown; all are counted."""


class Severity(StrEnum):
    """Whether a data set can be used with such a finding."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: its name, how bad it is, and what to do about it.

    ``single``: it concerns one object, which is left out, so that the rest can be used by who wants to.
    """

    name: str
    severity: Severity
    remedy: str
    single: bool = False


@dataclass(slots=True)
class Found:
    """All findings of one kind: how many, and the first places with what was seen there."""

    kind: Kind
    severity: Severity
    count: int = 0
    places: list[tuple[str, str]] = field(default_factory=list)


class Findings:
    """Collects findings. With ``drop``, what concerns single objects is a warning."""

    def __init__(self, *, drop: bool = False) -> None:
        self._drop = drop
        self._found: dict[str, Found] = {}

    def add(self, kind: Kind, where: object, what: str, count: int = 1) -> None:
        """Note one finding at a place: a file, a line or an id of it."""
        severity = Severity.WARNING if self._drop and kind.single else kind.severity
        found = self._found.setdefault(kind.name, Found(kind, severity))
        found.count += count
        if len(found.places) < EXAMPLES:
            found.places.append((str(where), what))

    def take(self, other: Findings) -> None:
        """Add what others have found, as bad as they think it is."""
        for found in other:
            same = self._found.get(found.kind.name)
            if same is None:
                self._found[found.kind.name] = found
                continue
            same.count += found.count
            same.places = [*same.places, *found.places][:EXAMPLES]
            if found.severity is Severity.ERROR:
                same.severity = Severity.ERROR

    def __iter__(self) -> Iterator[Found]:
        """Yield the kinds found, errors first, in the order in which they were found."""
        return iter(sorted(self._found.values(), key=lambda found: found.severity is not Severity.ERROR))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def errors(self) -> list[Found]:
        """The kinds for which the set cannot be used."""
        return [found for found in self if found.severity is Severity.ERROR]

    def refuse(self, origin: str) -> None:
        """Raise `DataError` if there are errors, with the first place of each kind."""
        errors = self.errors
        if not errors:
            return
        lines = [
            f"{found.kind.name} ({found.count}x): {where}: {what}; {found.kind.remedy}"
            for found in errors
            for where, what in found.places[:1]
        ]
        raise DataError("\n  ".join(["the data set cannot be used", *lines]), where=origin)


def _error(name: str, remedy: str, *, single: bool = False) -> Kind:
    return Kind(name, Severity.ERROR, remedy, single)


def _warning(name: str, remedy: str) -> Kind:
    return Kind(name, Severity.WARNING, remedy)


# Files that say what the pictures show.
MISSING_FILE = _error("missing-file", "check the path")
BROKEN_FILE = _error("broken-file", "repair the place, or write the file anew")
HOSTILE_FILE = _error("hostile-file", "this file is not read; it is larger or deeper than any honest one")
WRONG_FIELD = _error("wrong-field", "write it as the format says", single=True)
UNKNOWN_CLASS = _error("unknown-class", "name the class, or correct the label", single=True)
DUPLICATE_ID = _error("duplicate-id", "ids are unique: number them anew")
DUPLICATE_CLASS = _error("duplicate-class", "a class has one name and one id")
UNKNOWN_PICTURE = _error("unknown-picture", "remove the annotation, or list its picture", single=True)
ESCAPING_PATH = _error("escaping-path", "paths stay inside the folder of the set")
EMPTY_SET = _error("empty-set", "a set has at least one picture")
MISSING_SPLIT = _error("missing-split", "choose one that is there")

# Boxes and shapes.
BAD_NUMBER = _error("bad-number", "boxes are finite numbers", single=True)
INVERTED_BOX = _error(
    "inverted-box", "width and height are positive: x, y, width, height or x1 < x2, y1 < y2", single=True
)
EMPTY_BOX = _error("empty-box", "remove it, or draw it anew", single=True)
OUTSIDE_BOX = _error("outside-box", "boxes lie in the picture: was it scaled after labelling?", single=True)
TINY_BOX = _warning("tiny-box", "objects below two pixels cannot be learnt; mark them as ignored")
DUPLICATE_BOX = _warning("duplicate-box", "the same object is labelled twice")
BAD_OUTLINE = _error("bad-outline", "a polygon has three points, run lengths add up to the picture", single=True)

# Pictures.
MISSING_PICTURE = _error("missing-picture", "put it there, or remove its entry; or give --images")
EMPTY_PICTURE = _error("empty-picture", "a file without a byte: copy it again")
BROKEN_PICTURE = _error("broken-picture", "the file is no picture that can be decoded: replace it")
TRUNCATED_PICTURE = _error("truncated-picture", "the file ends too early: copy it again")
BOMB_PICTURE = _error("bomb-picture", "no picture of such a size is decoded")
WRONG_SIZE = _error("wrong-size", "the labels were made for another size: scale them or replace the picture")
TURNED_PICTURE = _error("turned-picture", "the labels count the turned picture: save it upright, without EXIF rotation")
EXIF_PICTURE = _warning("exif-rotation", "the picture is read as stored, not turned: do the labels fit?")
DUPLICATE_PICTURE = _warning("duplicate-picture", "the same file twice: remove one")

# Label pictures.
MISSING_LABELS = _error("missing-label-picture", "every picture has one, or none of this map")
BROKEN_LABELS = _error("broken-label-picture", "one index of 8 bits per pixel: a grey or palette PNG")
LABELS_SIZE = _error("label-picture-size", "a label picture has the size of its picture")
UNKNOWN_INDEX = _error("unknown-index", "name the class, map the index, or ignore it (names, mapping, ignore)")
ONLY_UNLABELLED = _warning("only-unlabelled", "nothing in this label picture can be learnt from")

# The set as a whole.
UNLABELLED_SET = _error("unlabelled-set", "not one picture is labelled: is this the folder of labels?")
NO_EXAMPLE = _warning("class-without-example", "it cannot be learnt from this set")
IMBALANCE = _warning("class-imbalance", "rare classes need more pictures, or class weights")
SHARED_PICTURE = _error("picture-in-both-splits", "the same picture is learnt and measured: split anew")
NEAR_DUPLICATE = _warning("near-duplicate-in-both-splits", "split by group (ride, camera), not by picture")
SHARED_GROUP = _error("group-in-both-splits", "a group lies in one split: split by group")
OTHER_CLASSES = _error("other-classes", "what is measured has classes that are learnt: choose classes, or rename them")
