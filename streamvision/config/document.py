"""YAML text -> plain data that remembers where everything stands.

YAML 1.2 core schema, safe by construction: no tags, no merge keys, duplicate keys are mistakes, aliases cannot
blow up. Problems are collected, so that one reading reports all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from streamvision.errors import Problem

MAX_BYTES = 1 << 20
MAX_NODES = 50_000
MAX_DEPTH = 40

PARSER_SLIPS = (RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What ruamel.yaml raises besides its own errors: for depth, odd directives, impossible dates, no UTF-8."""

Path = tuple[str | int, ...]

# In YAML, {a: ${B}} is a mistake: a brace ends the text. People write it nevertheless, so the braces of
# placeholders are hidden from the parser behind characters of the same width, which keeps every column right.
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z0-9_.-]*)\}")
_HIDDEN_BRACES = str.maketrans({"\ue000": "{", "\ue001": "}"})

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(
    _CORE + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value")
)
_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan"),
}  # fmt: skip


@dataclass(slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the place of every value and key, counted from 1."""

    file: str
    data: Any = None
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    expanded: set[Path] = field(default_factory=set)
    """Values that hold a secret."""
    broken: set[Path] = field(default_factory=set)
    """Values that have a problem already; nothing more is said about them."""

    def problem(self, path: Path, message: str, remedy: str = "", *, at_key: bool = False) -> None:
        """Note a mistake at the place of a path, or of the nearest place above it that exists."""
        line, column = self.place(path, at_key=at_key)
        self.problems.append(Problem(self.file, line, column, message, remedy))

    def place(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Return line and column of a value (or of its key)."""
        if at_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (1, 1))


def read_document(file: str, raw: bytes) -> Document:
    """Parse a file; what is wrong with its form stands in ``problems``, and ``data`` is None if nothing is left."""
    document = Document(file)
    try:
        if len(raw) > MAX_BYTES:
            document.problem((), f"the file is larger than {MAX_BYTES >> 20} MiB", "a configuration is a small file")
            return document
        node = _compose(document, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        document.problems.append(Problem(file, line, 1, "the file is not UTF-8 text", "save it as UTF-8"))
        return document
    if node is not None:
        _Builder(document).build(node)
    if document.data is None and not document.problems:
        document.problem((), "the file is empty", "it needs at least one stream: streams: [{id: ..., url: ...}]")
    return document


def _compose(document: Document, text: str) -> Node | None:
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False
        node: Node | None = yaml.compose(_PLACEHOLDER.sub("$\ue000\\1\ue001", text))
    except MarkedYAMLError as error:
        _syntax_problem(document, error)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems.append(
            Problem(document.file, line, 1, f"character {error.character!r} is not allowed in YAML")
        )
    except YAMLError as error:
        document.problem((), f"this is not YAML: {str(error).splitlines()[0]}")
    except PARSER_SLIPS:
        document.problem((), "this cannot be read as YAML: too deeply nested, or a directive (%) that nobody knows")
    else:
        return node
    return None


def _syntax_problem(document: Document, error: MarkedYAMLError) -> None:
    mark: StringMark | None = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = str(error.problem or error.context or "this is not YAML")
    context = f" ({error.context})" if error.problem and error.context else ""
    remedy = "check the indentation, brackets and quotes just before this place"
    if "single document" in str(error.context):
        what, context, remedy = "a second document starts here", "", "one file is one configuration: remove the ---"
    elif "alias" in what:
        remedy = "quote a text that starts with *"
    elif r"'\t'" in what:
        remedy = "indent with spaces"
    document.problems.append(Problem(document.file, line, column, f"YAML: {what}{context}", remedy))


class _Builder:
    """Walks composed nodes with a budget, so that aliases (shared or circular) cannot blow up."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._budget = MAX_NODES

    def build(self, root: Node) -> None:
        try:
            self._document.data = self._value(root, ())
        except _TooMuch:
            self._document.data = None
            self._document.problem(
                (), "the file is nested too deeply or repeats itself through aliases", "write it out"
            )

    def _value(self, node: Node, path: Path) -> Any:
        self._budget -= 1
        if self._budget < 0 or len(path) > MAX_DEPTH:
            raise _TooMuch
        self._document.values[path] = _place(node)
        if str(node.tag) not in _PLAIN_TAGS:
            self._document.broken.add(path)
            self._document.problem(path, f"the YAML tag {_tag(node)!r} is not allowed", "write the plain value")
            return None
        if isinstance(node, MappingNode):
            return dict(self._entries(node, path))
        if isinstance(node, SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _entries(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, tuple[int, int]] = {}
        for key_node, value_node in node.value:
            line, column = _place(key_node)
            if not isinstance(key_node, ScalarNode):
                self._problem_at(line, column, "a key must be a plain text", "quote it if it starts with [ or {")
                continue
            key = _text(key_node)
            if key in seen:
                self._problem_at(line, column, f"{key!r} is given twice", f"the first is in line {seen[key][0]}")
                continue
            seen[key] = self._document.keys[*path, key] = (line, column)
            yield key, self._value(value_node, (*path, key))

    def _problem_at(self, line: int, column: int, message: str, remedy: str) -> None:
        self._document.problems.append(Problem(self._document.file, line, column, message, remedy))


class _TooMuch(Exception):  # noqa: N818
    """The walk went over its budget."""


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _tag(node: Node) -> str:
    return str(node.tag).replace(_CORE, "!!")


def _text(node: Node) -> str:
    return str(node.value).translate(_HIDDEN_BRACES)


def _scalar(node: Node) -> Any:
    """Resolve by the YAML 1.2 core schema: ``on``, ``off``, ``yes``, dates and 012 are no surprises."""
    text = _text(node)
    if str(node.tag) == f"{_CORE}str":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    return float(text) if _FLOAT.fullmatch(text) else text
