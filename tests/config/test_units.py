from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from streamvision.units import Seconds, format_seconds, parse_seconds


class Span(BaseModel):
    span: Seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("1.5h", 5400), ("5m", 300), ("30d", 2_592_000), (" 2 s ", 2), (".5s", 0.5), ("0s", 0)],
)
def test_spans(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds)
    assert Span(span=text).span == pytest.approx(seconds)


@pytest.mark.parametrize("wrong", ["", "s", "2", "-2s", "2 sec", "1h30m", "1e3s", True, None, -1, float("inf"), [2]])
def test_what_is_no_span(wrong):
    with pytest.raises(ValidationError):
        Span(span=wrong)


def test_numbers_are_seconds():
    assert Span(span=3).span == 3.0
    assert Span(span=0.25).span == 0.25


@given(st.integers(1, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_written_span_reads_back(count, unit):
    seconds = parse_seconds(f"{count}{unit}")
    assert parse_seconds(format_seconds(seconds)) == pytest.approx(seconds, rel=1e-5)
