"""The wire format of protocol buffers, read field by field from a mapped file: nothing is unpacked, nothing is copied.

A parser that builds objects can be made to need a hundred times a file's size; this one needs nothing but time, and
that is limited by a budget of fields. (https://protobuf.dev/programming-guides/encoding)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 10


class BadWire(ValueError):  # noqa: N818
    """These bytes are no message; ``position`` is where that shows. Whoever knows the file makes a real error of it."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(f"{what} at byte {position}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: a varint's ``value``, or the bytes from ``start`` to ``stop`` of anything else."""

    number: int
    kind: int
    value: int
    start: int
    stop: int


class Wire:
    """A file's bytes, with the number of fields that may still be read. Raises `BadWire`."""

    def __init__(self, data: memoryview, budget: int) -> None:
        self.data = data
        self.budget = budget

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """Yield the fields of the message that lies between two positions, in file order."""
        position = start
        while position < stop:
            self.budget -= 1
            if self.budget < 0:
                raise BadWire("more parts than any network has", position)
            tag, after = self._varint(position, stop)
            field = self._field(tag >> 3, tag & 7, after, stop)
            yield field
            position = field.stop

    def text(self, field: Field) -> str:
        """Return a field's bytes as text; what is not UTF-8 is replaced."""
        return bytes(self.data[field.start : field.stop]).decode("utf-8", "replace")

    def numbers(self, field: Field) -> list[int]:
        """Return the integers of a repeated field, which may be packed; negative ones as two's complement says."""
        if field.kind == VARINT:
            return [_signed(field.value)]
        found, position = [], field.start
        while position < field.stop:
            value, position = self._varint(position, field.stop)
            found.append(_signed(value))
        return found

    def count_varints(self, field: Field) -> int:
        """Return how many varints a packed field holds: one for each byte without a continuation bit."""
        if field.kind == VARINT:
            return 1
        return int(np.count_nonzero(np.frombuffer(self.data[field.start : field.stop], np.uint8) < 0x80))

    def _field(self, number: int, kind: int, after: int, stop: int) -> Field:
        if number == 0:
            raise BadWire("a field without a number", after)
        if kind == VARINT:
            value, end = self._varint(after, stop)
            return Field(number, kind, value, after, end)
        if kind == BYTES:
            length, begin = self._varint(after, stop)
        elif kind in _FIXED:
            length, begin = _FIXED[kind], after
        else:
            raise BadWire(f"a field of an unknown kind ({kind})", after)
        if begin + length > stop:
            raise BadWire(f"{length} bytes should follow, but {stop - begin} do,", begin)
        return Field(number, kind, 0, begin, begin + length)

    def _varint(self, position: int, stop: int) -> tuple[int, int]:
        """Return the integer at a position, and the position after it."""
        value = 0
        for index in range(_LONGEST_VARINT):
            if position + index >= stop:
                raise BadWire("a number breaks off", position)
            byte = self.data[position + index]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, position + index + 1
        raise BadWire("a number without an end", position)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
