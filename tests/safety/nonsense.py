"""Input that nobody wrote on purpose: seeded mutations of bytes and of structures, and what a command makes of them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamvision.cli import main

SPLINTERS: tuple[bytes, ...] = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\r", b"\t", b"\x1b[31m", b"${", b"${}",
    b"$${A}", b"${HOME}", b"&a ", b"*a", b"!!python/object/apply:os.system [id]", b"!!binary aGk=", b"!x ",
    b"<<: *a", b"? ", b"---\n", b"...\n", b"%YAML 9.9\n---\n", b"[" * 90, b"{a: " * 60, b"- " * 60, b"|\n", b">-\n",
    b"'", b'"', b"\\", b"#", b": ", b"0x" + b"f" * 40, b"1e999", b"-.inf", b".nan", b"9" * 400, b"-1", b"1_000",
    b"2026-01-01", b"~", b"null", b"yes", b"file:///etc/passwd", b"concat:a|b", b"../../../etc/passwd",
    b"\xe2\x80\xae", "𝔘".encode(), b"a" * 5000, b"\n\n\n",
)  # fmt: skip
"""What has broken parsers before."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ",
    "\0", "a\nb", "${", "${NOBODY}", "*", "../..", "/", "/dev/zero", "http://[", "rtsp://:@:99999/",
    "demo:street?seed=x", "1h", "-5s", "9e9d", [], [[]], [None], [1, 2, 3], [[0, 0], [1, 1]], {}, {"": None},
    {"type": {}}, {"a": {"b": {"c": []}}}, "x" * 3000, "\ud800", [[float("nan")] * 2] * 3, ["a"] * 500,
    {str(n): n for n in range(300)},
)  # fmt: skip
"""What has broken validators before."""


def mutated_bytes(source: bytes, rng: random.Random) -> bytes:
    """Return a text after one to four cuts, copies, flips or splinters."""
    data = bytearray(source)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 7, 40))
        match rng.randrange(5):
            case 0:
                del data[at : at + length]
            case 1:
                data[at:at] = rng.choice(SPLINTERS)
            case 2:
                data[at : at + length] = rng.choice(SPLINTERS)
            case 3 if at < len(data):
                data[at] = rng.randrange(256)
            case _:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[other : other + 10 * length]
    return bytes(data)


def mutated_tree(source: Any, rng: random.Random) -> Any:
    """Return a copy of plain data in which one to three values, keys or items are others."""
    tree = json.loads(json.dumps(source))
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            break
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[f"{key}{rng.choice(('', 's', '_', ' '))}"] = holder.pop(key)
            case 2:
                holder[key] = [holder[key]]
            case 3:
                holder[key] = {str(key): holder[key]}
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
            yield tree, key
            yield from _places(value)


def as_json(tree: Any) -> bytes:
    """Return plain data as JSON, which is YAML too; what is no Unicode stays escaped."""
    return json.dumps(tree).encode()


def outcome(*arguments: str | Path) -> tuple[int, str]:
    """Run a command in this process; return its exit code and all that it said.

    Whatever else than an orderly exit leaves it (an exception: a traceback for the user) leaves this, too.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return code, said.getvalue()


def assert_orderly(result: tuple[int, str], codes: tuple[int, ...], case: object) -> None:
    """Fail unless a command ended with one of ``codes``, and with words for people."""
    code, said = result
    assert code in codes, f"{case}: exit {code}: {said[-2000:]}"
    assert "Traceback" not in said, f"{case}: {said[-2000:]}"
    assert code == 0 or said.strip(), f"{case}: exit {code} without a word"


def spread(count: int, sources: Mapping[str, bytes]) -> Iterator[tuple[str, bytes, random.Random]]:
    """Yield ``count`` cases: a name that tells the seed, one of the sources, and the random numbers of the case."""
    names = sorted(sources)
    for number in range(count):
        name = names[number % len(names)]
        yield f"{name} seed {number}", sources[name], random.Random(number)
