"""Hypothesis strategies for files that went wrong: damaged bytes, and YAML that is made to hurt its reader."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.scale import scaled


def sized(short: int, whole: int) -> settings:
    """Return the settings of a test: the same cases in every run, more of them at full size."""
    return settings(
        max_examples=scaled(short, whole), deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip


SPLINTERS = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xae", "\u2028\u0085".encode(), b"\r", b"\t",
    b"${", b"${NOBODY}", b"&a [*a]", b"*a", b"<<: *a\n", b"!!python/name:os.system ", b"---\n", b"%YAML 9.9\n---\n",
    b"[" * 60, b"{a: " * 60, b"9" * 400, b"1e999", b"-.inf", b".nan", b"0x" + b"f" * 300, b"<a>", b"]]>", b"&lt;", b'"',
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, source: bytes) -> bytes:
    """Return ``source`` after one to four cuts, flips, splinters or copies of its own parts."""
    data = bytearray(source)
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.sampled_from((1, 3, 17, 200)))
        match draw(st.sampled_from(("cut", "flip", "splinter", "copy", "truncate"))):
            case "cut":
                del data[at : at + length]
            case "flip":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "splinter":
                data[at:at] = draw(st.sampled_from(SPLINTERS))
            case "copy":
                other = draw(st.integers(0, len(data)))
                data[at:at] = data[other : other + length]
            case _:
                del data[at:]
    return bytes(data)


def bomb(levels: int, wide: int) -> str:
    """Return aliases of aliases: ``wide`` to the power of ``levels`` values in a few lines."""
    lines = ["a0: &a0 [" + ", ".join(["x"] * wide) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * wide) + "]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


_DEPTHS, _LENGTHS = st.sampled_from((20, 35, 45, 200)), st.integers(1, 5000)
_WORDS = ("1:2:3", "190:20:30.15", "2026-99-99", "2001-12-14t21:59:43.10-99:00", "0b12", "+.INF", "1_0")
_TAGS = ("!!set", "!!omap", "!!binary", "!!timestamp", "!!int", "!!float", "!x", "!<tag:a>", "!!bool")
HOSTILE: st.SearchStrategy[str] = st.one_of(
    st.builds(bomb, st.integers(2, 40), st.integers(1, 12)),
    st.just("a: &a [*a]\n"),
    st.just("a: &a {b: *a}\n"),
    _DEPTHS.map(lambda depth: "streams: " + "[" * depth + "]" * depth),
    _DEPTHS.map(lambda depth: "{a: " * depth + "1" + "}" * depth),
    _DEPTHS.map(lambda depth: "- " * depth + "1"),
    _DEPTHS.map(lambda depth: "? " * depth + "1"),
    _LENGTHS.map(lambda length: f"name: {'9' * length}\ninput: -{'9' * length}\nserver: 0x{'f' * length}\n"),
    _LENGTHS.map(lambda length: f"server: {{max_watchers: 1e{'9' * length}}}\nstate_dir: 0o{'7' * length}\n"),
    st.sampled_from(_WORDS).map(lambda word: f"state_dir: {word}\nname: {word}\nserver: {{listen: {word}}}\n"),
    st.text(max_size=40).map(lambda text: f"streams:\n  - id: {text}\n    url: {text}\nname: {text}\n"),
    st.characters().map(lambda odd: f'{odd}: 1\n"{odd}": 2\nname{odd}: "{odd}"\n'),
    st.sampled_from(("streams", "name", "a", "null", "1", "~", '""')).map(lambda key: f"{key}: 1\n{key}: 2\n"),
    st.builds("name: {} {}\n".format, st.sampled_from(_TAGS), st.sampled_from(("x", "[1]", "{a: 1}", "''", "1"))),
    st.sampled_from(("%YAML 1.1", "%YAML 1.9", "%YAML 9" * 20, "%YAML x", "%TAG ! tag:x:", "%TAG !a! b", "%X")).map(
        lambda directive: f"{directive}\n---\nname: !a!b 1\n"
    ),
)  # fmt: skip
"""Documents of YAML that are small, and dangerous to somebody."""


def trees() -> st.SearchStrategy[Any]:
    """Return plain data of any shape, as it can be put into JSON."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )


@st.composite
def altered(draw: st.DrawFn, source: Any) -> Any:
    """Return a copy of plain data in which one value, anywhere, is another, is gone, or has another key."""
    if not isinstance(source, dict | list) or not source or draw(st.integers(0, 5)) == 0:
        return draw(trees())
    if isinstance(source, list):
        index = draw(st.integers(0, len(source) - 1))
        return [draw(altered(each)) if at == index else each for at, each in enumerate(source)]
    chosen = draw(st.sampled_from(list(source)))
    match draw(st.sampled_from(("value", "value", "value", "gone", "key"))):
        case "gone":
            return {key: value for key, value in source.items() if key != chosen}
        case "key":
            return {
                (f"{key}{draw(st.text(max_size=3))}" if key == chosen else key): each for key, each in source.items()
            }
        case _:
            return {key: draw(altered(value)) if key == chosen else value for key, value in source.items()}
